"""The programs of a run: each in a process group of its own, which ends with the run.

    program = await start(["mbsync", "-a"], environment)        # what it says is in `stdout`
    tail = Tail(program.stdout)
    said = await tail.end()         # when the program has ended: the last `LAST` octets
    await end(program)

A program also ends when the runner is killed (prctl(2), PR_SET_PDEATHSIG). One that is talked to
may end what it does: Dovecot's imap would leave a lock that others wait two minutes for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Final

LAST: Final = 8000
LIMIT: Final = 1 << 20  # octets of a line that is read from a program
PATIENCE: Final = 3.0  # seconds from SIGTERM to SIGKILL


async def start(
    command: Sequence[str], environment: Mapping[str, str], pipe: bool = False
) -> asyncio.subprocess.Process:
    """`pipe`: it is talked to, and what it says of itself is in `stderr`."""
    return await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "TERM" if pipe else "KILL", *command),
        stdin=asyncio.subprocess.PIPE if pipe else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if pipe else asyncio.subprocess.STDOUT,
        cwd="/",
        env=environment,
        start_new_session=True,
        limit=LIMIT,
    )


async def end(program: asyncio.subprocess.Process) -> None:
    """The process group ends, whether the program has or not: SIGTERM, then SIGKILL.

    Who is cancelled meanwhile, and be it again and again, is so once it has ended.
    """
    ending = asyncio.create_task(_end(program))
    cancelled = False
    while not ending.done():
        try:
            await asyncio.wait([ending])
        except asyncio.CancelledError:
            cancelled = True
    ending.result()
    if cancelled:
        raise asyncio.CancelledError


async def _end(program: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await program.wait()
    await program.wait()


class Tail:
    """The last of what a stream says; all of it is read, or its writer would wait."""

    def __init__(self, stream: asyncio.StreamReader | None) -> None:
        self._kept = b""
        self._task = asyncio.create_task(self._read(stream)) if stream else None

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(1 << 16):
            self._kept = (self._kept + chunk)[-LAST:]

    async def end(self) -> str:
        """All that came, once the stream has ended."""
        if self._task is not None:
            await self._task
        return self._kept.decode("utf-8", "replace")
