"""The reload hook: a program run without a shell, one at a time, within its time limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mailapi.errors import HookFailed
from mailapi.hook import KEPT, Hook

Script = Callable[[str], list[str]]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Writes a shell script that knows its directory as $D, and returns its command."""

    def write(body: str) -> list[str]:
        path = tmp_path / "hook"
        path.write_text(f"#!/bin/sh\nD={tmp_path}\n{body}\n")
        path.chmod(0o700)
        return [str(path)]

    return write


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.005)


def is_alive(pid: int) -> bool:
    """A dead process that its parent has not reaped is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def pids(directory: Path, names: str) -> list[int]:
    """The process ids that the script wrote to these files, once they are there."""
    files = [directory / name for name in names.split()]
    await until(lambda: all(file.exists() and file.read_text().endswith("\n") for file in files))
    return [int(file.read_text()) for file in files]


async def failure(run: Awaitable[None]) -> str:
    with pytest.raises(HookFailed) as caught:
        await run
    assert "/" not in caught.value.msg
    return caught.value.msg


async def test_an_empty_command_runs_nothing() -> None:
    """Without a command the hook is not enabled, and a run is no failure."""
    hook = Hook([], 5)
    assert not hook.enabled
    await hook.run("reload", "postfix")
    assert Hook(["true"], 5).enabled


async def test_words_reach_the_program_as_they_are(script: Script, tmp_path: Path) -> None:
    """No blank, quote, dollar or semicolon has a meaning, in the command or in the words."""
    fixed, words = ["a b", "$HOME"], ("x;touch $D/owned", "$(id)", "*", "", "q\"'`", "-n")
    hook = Hook([*script('printf "%s\\n" "$@" >$D/argv'), *fixed], 20)
    await hook.run(*words)
    assert (tmp_path / "argv").read_text().splitlines() == [*fixed, *words]
    assert not (tmp_path / "owned").exists()


async def test_the_surroundings_are_bare(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty input, a session of its own, only PATH and LANG, no descriptor but the three."""
    monkeypatch.setenv("MAILAPI_SECRET", "geheim")
    (tmp_path / "ours").write_text("not for the hook")
    leak = os.open(tmp_path / "ours", os.O_RDONLY)
    os.set_inheritable(leak, True)
    stdin = os.dup(0)
    os.dup2(leak, 0)
    try:
        await Hook(
            script(
                "cat >$D/stdin; tr '\\0' '\\n' </proc/$$/environ | cut -d= -f1 >$D/env\n"
                "cut -d' ' -f1,5,6 /proc/$$/stat >$D/ids; ls /proc/$$/fd >$D/fds"
            ),
            20,
        ).run()
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)
        os.close(leak)
    assert (tmp_path / "stdin").read_bytes() == b""
    assert sorted((tmp_path / "env").read_text().split()) == ["LANG", "PATH"]
    assert len(set((tmp_path / "ids").read_text().split())) == 1
    assert str(leak) not in (tmp_path / "fds").read_text().split()


async def test_output_goes_to_the_log_only(script: Script) -> None:
    """At debug on success, as a warning on failure, both streams; the message has none of it."""
    body = "echo geheim; echo /etc/geheim >&2; exit $1"
    with capture_logs() as logs:
        await Hook(script(body), 20).run("0")
        msg = await failure(Hook(script(body), 20).run("3"))
    assert "exit status 3" in msg
    assert "geheim" not in msg
    assert [(entry["log_level"], entry["output"]) for entry in logs] == [
        ("debug", "geheim\n/etc/geheim\n"),
        ("warning", "geheim\n/etc/geheim\n"),
    ]


async def test_a_signal_is_a_failure(script: Script) -> None:
    """A program that was killed has not done its work."""
    assert "signal 9" in await failure(Hook(script("kill -9 $$"), 20).run())


@pytest.mark.parametrize("mode", [None, 0o600])
async def test_a_program_that_cannot_be_started(tmp_path: Path, mode: int | None) -> None:
    """A missing program, or one that is not executable, is said without its path; logged too."""
    path = tmp_path / "hook"
    if mode:
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)
    before = descriptors()
    with capture_logs() as logs:
        msg = await failure(Hook([str(path)], 20).run("reload", "postfix"))
    assert "[reload] command" in msg
    assert logs[0]["log_level"] == "warning"
    assert descriptors() == before


STUBBORN = (
    "trap '' TERM\n(trap '' TERM; echo $$ >$D/program; exec sh -c"
    " 'echo $$ >'$D'/child; while :; do sleep 1; done') &\nwait"
)


async def test_the_time_limit_ends_the_whole_group(script: Script, tmp_path: Path) -> None:
    """The program and what it started are killed, whatever they do about SIGTERM."""
    run = asyncio.create_task(failure(Hook(script(STUBBORN), 2).run()))
    program, child = await pids(tmp_path, "program child")
    assert is_alive(program)
    assert is_alive(child)
    msg = await run
    assert "within 2 seconds" in msg
    assert not Path(f"/proc/{program}").exists(), "killed and reaped"
    await until(lambda: not is_alive(child))


async def test_cancellation_ends_the_whole_group(script: Script, tmp_path: Path) -> None:
    """A caller that is cancelled leaves no process behind, and the next one gets its turn."""
    hook = Hook(script(f'test "$1" && exit\n{STUBBORN}'), 60)
    run = asyncio.create_task(hook.run())
    program, child = await pids(tmp_path, "program child")
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not Path(f"/proc/{program}").exists(), "killed and reaped"
    await until(lambda: not is_alive(child))
    await hook.run("next")


async def test_much_output_neither_blocks_nor_stays(script: Script) -> None:
    """A program that writes 10 MB ends; the log gets the first 4 KiB."""
    body = "echo first; head -c 10000000 /dev/zero | tr '\\0' x; echo last >&2"
    with capture_logs() as logs:
        await Hook(script(body), 60).run()
    assert logs[0]["output"].startswith("first\nxxx")
    assert len(logs[0]["output"]) == KEPT


async def test_a_background_process_is_not_waited_for(script: Script, tmp_path: Path) -> None:
    """Who keeps the output open after the program's end holds nobody up, and is let live."""
    hook = Hook(script("sleep 300 &\necho $! >$D/child"), 100)
    await hook.run()
    (child,) = await pids(tmp_path, "child")
    assert is_alive(child)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, 9)


async def test_one_at_a_time(script: Script, tmp_path: Path) -> None:
    """Of five runs asked for at once none begins before the one before it has ended."""
    hook = Hook(script("mkdir $D/busy || exit 9; sleep 0.05; rmdir $D/busy; echo >>$D/done"), 60)
    await asyncio.gather(*(hook.run("reload", "postfix") for _ in range(5)))
    assert (tmp_path / "done").read_text() == "\n" * 5


async def test_no_descriptor_is_left(script: Script) -> None:
    """Success, failure and the time limit give back what they opened."""
    before = descriptors()
    await Hook(script("exit $1"), 20).run("0")
    await failure(Hook(script("exit $1"), 20).run("1"))
    await failure(Hook(script("sleep 60"), 0.1).run())
    assert descriptors() == before
