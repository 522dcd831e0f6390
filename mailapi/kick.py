"""Ending the open sessions of mailboxes that were switched off, removed or given a new password.

The addresses stand in the database from the commit of the change until the hook has done its work
(`kick ADDRESS`), so a crash forgets none. They follow the change: a session that ended before
Dovecot acts on the new state could begin anew. A failure is tried again after a pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from functools import partial
from typing import Final

import structlog

from .database import Connection
from .errors import NotLive
from .hook import Hook

PAUSE: Final = 5.0  # seconds after a failure
_log = structlog.get_logger("mailapi.kick")


class Kicker:
    """Idle until `wake`; belongs to one event loop."""

    def __init__(self, connection: Connection, hook: Hook) -> None:
        self._db, self._hook = connection, hook
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._applied = 0

    def wake(self, applied: int) -> None:
        """All generations up to `applied` are live."""
        self._applied, self._again = applied, True
        if self._hook.enabled and self._task is None:
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
            except NotLive as error:
                _log.warning("sessions not ended", code=error.code, msg=error.msg)
                self._again = True
                await asyncio.sleep(PAUSE)
        self._task = None

    async def _kick_all(self) -> None:
        applied = self._applied
        for address in await self._db.run(partial(_due, applied=applied)):
            await self._hook.run("kick", address)
            await self._db.run(partial(_done, address=address, applied=applied))


def _due(db: sqlite3.Connection, applied: int) -> list[str]:
    rows = db.execute("SELECT address FROM kick WHERE generation <= ?", (applied,))
    return [address for (address,) in rows.fetchall()]


def _done(db: sqlite3.Connection, address: str, applied: int) -> None:
    """Not if the mailbox was changed again meanwhile: then there is a later generation."""
    db.execute("DELETE FROM kick WHERE address = ? AND generation <= ?", (address, applied))
