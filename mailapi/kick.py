"""Ending the open sessions of mailboxes that were switched off, removed or given a new password.

The addresses stand in the database from the commit of the change until the hook has done its work
(`kick ADDRESS`), so a crash forgets none. They follow the change: a session that ended before
Dovecot acts on the new state could begin anew. After a failure there is a pause, and then those
come first that have failed least: one address that cannot be done holds up no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from functools import partial
from typing import Final

import structlog

from .database import Connection
from .errors import HookFailed
from .hook import Hook

PAUSE: Final = 5.0  # seconds after a failure
_log = structlog.get_logger("mailapi.kick")


class Kicker:
    """Idle until what is expected is live; belongs to one event loop."""

    def __init__(self, connection: Connection, hook: Hook) -> None:
        self._db, self._hook = connection, hook
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._expected = self._applied = 0
        self._failed: dict[str, int] = {}  # how often

    def expect(self, generation: int) -> None:
        """There may be sessions to end, once this generation is live."""
        self._expected = max(self._expected, generation)

    def wake(self, applied: int) -> None:
        """All generations up to `applied` are live."""
        if not self._hook.enabled or not self._applied < min(applied, self._expected):
            return
        self._applied, self._again = applied, True
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while self._again:
            self._again = False
            try:
                await self._kick_all()
            except (HookFailed, sqlite3.Error) as error:
                _log.warning("sessions not ended", cause=repr(error))
                self._again = True
                await asyncio.sleep(PAUSE)
        self._task = None

    async def _kick_all(self) -> None:
        applied = self._applied
        due = await self._db.run(partial(_due, applied=applied))
        for address in sorted(due, key=lambda address: self._failed.get(address, 0)):
            failures = self._failed.pop(address, 0)
            try:
                await self._hook.run("kick", address)
            except HookFailed:
                self._failed[address] = failures + 1
                raise
            await self._db.run(partial(_done, address=address, applied=applied))


def _due(db: sqlite3.Connection, applied: int) -> list[str]:
    rows = db.execute("SELECT address FROM kick WHERE generation <= ?", (applied,))
    return [address for (address,) in rows.fetchall()]


def _done(db: sqlite3.Connection, address: str, applied: int) -> None:
    """Not if the mailbox was changed again meanwhile: then there is a later generation."""
    db.execute("DELETE FROM kick WHERE address = ? AND generation <= ?", (address, applied))
