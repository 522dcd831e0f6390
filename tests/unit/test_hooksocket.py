"""The reload hook behind a socket: one line each way, one request at a time, within its time."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mailapi import config, resources
from mailapi.errors import ConfigError, HookFailed
from mailapi.hooksocket import SocketHook

Answer = Callable[[bytes], Awaitable[bytes | None]]
Listen = Callable[[Answer], Awaitable[Path]]


@pytest.fixture
async def listen(tmp_path: Path) -> AsyncIterator[Listen]:
    """Somebody on a socket, who answers each line; None: never, until the client has gone."""
    async with contextlib.AsyncExitStack() as stack:

        async def listen(answer: Answer) -> Path:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                said = await answer(await reader.readline())
                if said is None:
                    await reader.read()
                writer.write(said or b"")
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

            server = await asyncio.start_unix_server(serve, tmp_path / "socket")
            await stack.enter_async_context(server)
            return tmp_path / "socket"

        yield listen


def saying(answer: bytes | None) -> Answer:
    async def say(line: bytes) -> bytes | None:
        return answer

    return say


async def failure(run: Awaitable[None]) -> str:
    with pytest.raises(HookFailed) as caught:
        await run
    assert "/" not in caught.value.msg
    return caught.value.msg


async def test_a_request_is_a_line(listen: Listen) -> None:
    """The words with blanks between them, and a newline; `ok` is success, and it is enabled."""
    lines: list[bytes] = []

    async def answer(line: bytes) -> bytes:
        lines.append(line)
        return b"ok\n"

    hook = SocketHook(await listen(answer), 20)
    assert hook.enabled
    await hook.run("reload", "postfix")
    await hook.run("kick", "ann@example.com")
    assert lines == [b"reload postfix\n", b"kick ann@example.com\n"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"failed status 75\n", "failed status 75"),
        (b"failed timeout\n", "failed timeout"),
        (b"failed start\n", "failed start"),
        (b"failed request\n", "does not know"),
        (b"geheim\n", "does not know"),
        (b"failed geheim\n", "does not know"),
        (b"\xff\n", "does not know"),
        (b"ok", "no answer"),
        (b"", "no answer"),
        (b"o" * 10_000, "no answer"),
    ],
)
async def test_any_other_answer_is_a_failure(listen: Listen, answer: bytes, words: str) -> None:
    """The message says what to do; of the answer it holds only what the program can say."""
    hook = SocketHook(await listen(saying(answer)), 20)
    with capture_logs() as logs:
        msg = await failure(hook.run("reload", "postfix"))
    assert words in msg
    assert "geheim" not in msg
    assert [entry["log_level"] for entry in logs] == ["warning"]


async def test_each_answer_of_the_program_is_known(listen: Listen) -> None:
    """What the program documents as its answers is told as such, but that it knows no request."""
    text = resources.path("systemd", "mailapi-reload").read_text()
    answers = set(re.findall(r"^    (failed \w+)", text, re.MULTILINE))
    assert answers == {"failed " + w for w in ("request", "late", "start", "timeout", "status")}
    for answer in answers - {"failed request"}:
        told = answer + " 1" * (answer == "failed status")
        hook = SocketHook(await listen(saying(f"{told}\n".encode())), 20)
        assert told in await failure(hook.run("reload", "postfix"))


async def test_nobody_listens(tmp_path: Path, listen: Listen) -> None:
    """No socket, and one that nobody listens on any more, name the unit to start."""
    assert "mailapi-reload.socket" in await failure(SocketHook(tmp_path / "none", 20).run("x"))
    (tmp_path / "file").touch()
    assert "mailapi-reload.socket" in await failure(SocketHook(tmp_path / "file", 20).run("x"))


async def test_permission_is_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not in the socket's group learns that it is a matter of group and mode."""

    async def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asyncio, "open_unix_connection", refuse)
    assert "0660" in await failure(SocketHook(tmp_path / "socket", 20).run("reload", "postfix"))


async def test_the_time_limit(listen: Listen) -> None:
    """An answer that does not come is a failure, and the next request is sent."""
    answers = iter([None, b"ok\n"])

    async def answer(line: bytes) -> bytes | None:
        return next(answers)

    hook = SocketHook(await listen(answer), 0.2)
    async with asyncio.timeout(20):
        assert "within 0.2 seconds" in await failure(hook.run("reload", "postfix"))
    await hook.run("reload", "postfix")


async def test_one_at_a_time(listen: Listen) -> None:
    """Of five requests at once none is sent before the one before it has its answer."""
    under_way = most = done = 0

    async def answer(line: bytes) -> bytes:
        nonlocal under_way, most, done
        under_way += 1
        most, done = max(most, under_way), done + 1
        await asyncio.sleep(0.01)
        under_way -= 1
        return b"ok\n"

    hook = SocketHook(await listen(answer), 20)
    await asyncio.gather(*(hook.run("reload", "postfix") for _ in range(5)))
    assert (most, done) == (1, 5)


async def test_cancellation_frees_the_next(listen: Listen) -> None:
    """A caller that is cancelled leaves, and the next one gets its turn."""
    asked = asyncio.Event()
    answers = iter([None, b"ok\n"])

    async def answer(line: bytes) -> bytes | None:
        asked.set()
        return next(answers)

    hook = SocketHook(await listen(answer), 20)
    run = asyncio.create_task(hook.run("reload", "postfix"))
    await asked.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await hook.run("reload", "postfix")


def test_socket_or_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[reload] takes one of both; the message names neither path."""
    for name in ("MAILAPI_RELOAD__SOCKET", "MAILAPI_RELOAD__COMMAND"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "config.toml"
    file.write_text('[reload]\nsocket = "/run/geheim"\n')
    assert config.load(file).reload.socket == Path("/run/geheim")
    file.write_text('[reload]\nsocket = "/run/geheim"\ncommand = ["/bin/geheim"]\n')
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    assert "[reload] must have a socket or a command" in caught.value.msg
    assert "geheim" not in caught.value.msg
