"""The programs of runs, and the start of the runner's process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from mailapi import config
from mailapi.errors import ConfigError
from mailapi.syncrunner import engine, main, process


async def test_a_program_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its whole group is killed, even if who ends it is cancelled again and again."""
    monkeypatch.setattr(process, "PATIENCE", 0.2)
    script = "trap '' TERM; sleep 100 & echo $!; while :; do sleep 1; done"
    program = await process.start(("sh", "-c", script), {"PATH": os.environ["PATH"]})
    assert program.stdout is not None
    child = int(await program.stdout.readline())
    task = asyncio.create_task(process.end(program))
    while not task.done():
        await asyncio.sleep(0.01)
        task.cancel()
    assert task.cancelled()
    assert program.returncode == -9
    gone = Path(f"/proc/{child}/stat")
    async with asyncio.timeout(10):
        while gone.exists() and gone.read_text().split()[2] not in "ZX":
            await asyncio.sleep(0.002)


def test_only_the_mails_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not root, not another, not one that does not exist; by name or by number."""
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    main.check_user("daemon")
    main.check_user("1")
    for user in ("root", "0", "2", "no-such-user"):
        with pytest.raises(ConfigError, match="user"):
            main.check_user(user)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigError, match="daemon"):
        main.check_user("daemon")


async def test_it_does_not_start_as_another(tmp_path: Path) -> None:
    """`serve` ends before it asks for anything."""
    here = config.dev(tmp_path)
    sync = here.sync.model_copy(update={"socket": tmp_path / "s", "user": str(os.geteuid() + 1)})
    with pytest.raises(ConfigError):
        await main.serve(here.model_copy(update={"sync": sync}))


def test_what_killed_runners_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories of this user go, with all that is in them; nothing else, nor a live runner's."""
    monkeypatch.setattr(main.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(engine, "PREFIX", "stale-x-")
    gone, alive = f"stale-x-{2**31}-1", f"stale-x-{os.getpid()}-1"
    for name in (f"{gone}/a", alive, "stale-y-1", "target/kept"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "stale-x-2").symlink_to(tmp_path / "target")
    (tmp_path / "stale-x-3").write_text("")
    (tmp_path / gone / "a" / "link").symlink_to(tmp_path / "target")
    if os.geteuid() == 0:
        (tmp_path / "stale-x-4").mkdir()
        os.chown(tmp_path / "stale-x-4", 1, 1)
    left = {path.name for path in tmp_path.iterdir()} - {gone}
    main.remove_stale()
    assert {path.name for path in tmp_path.iterdir()} == left
    assert (tmp_path / "target" / "kept").is_dir()
