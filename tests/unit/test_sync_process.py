"""The programs of runs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from mailapi.syncrunner import process


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
