"""SQLite behind the event loop: one connection, one thread, one hop a piece of work.

A hop to aiosqlite's thread and back costs ten times what a small query does. So work comes as a
function of the connection that runs there whole, instead of as single statements; and a `Reader`
runs all the reads that wait in one hop. Connections use WAL; the writing one `synchronous=FULL`:
what was committed survives a loss of power. No read is open between two pieces of work, so none
can pin the write-ahead log. Source: sqlite.org, pragma.html and wal.html.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

PRAGMAS = "PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000; PRAGMA temp_store = MEMORY;"
WRITER = PRAGMAS + "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
LOG_STEP = 6 * 1024 * 1024  # octets; SQLite tries by itself from 4 MB on
READER = PRAGMAS + "PRAGMA query_only = ON;"


class Connection:
    """The writing connection; autocommit, so that work says itself where transactions begin."""

    pragmas = WRITER

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._tidy_at = LOG_STEP
        self._db: aiosqlite.Connection | None = None

    async def open(self) -> None:
        """Raise `sqlite3.Error` where the file cannot be opened."""
        self._db = await aiosqlite.connect(self._path, isolation_level=None)
        await self._db.executescript(self.pragmas)

    async def close(self) -> None:
        if self._db is not None:
            await self._db.close()
            self._db = None

    async def tidy(self) -> None:
        """Begin the write-ahead log anew once it has grown; a busy reader is waited for shortly.

        SQLite does that by itself only if nobody reads just then, so steady readers prevent it.
        """
        try:
            size = self._log.stat().st_size
        except OSError:
            return
        if size < self._tidy_at:
            return
        done = await self.run(_restart_log)
        self._tidy_at = LOG_STEP if done else size + LOG_STEP

    async def run(self, work: Work[T]) -> T:
        """Run `work` in the connection's thread. Cancelling the caller does not stop it."""
        if self._db is None:
            raise sqlite3.ProgrammingError("the database is closed")
        # aiosqlite's own methods are all built on this one; it has no public name for it.
        result: T = await self._db._execute(work, self._db._conn)  # type: ignore[no-untyped-call]  # private
        return result


class Reader(Connection):
    """A `query_only` connection on which all the reads that wait share a hop."""

    pragmas = READER

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._waiting: list[tuple[Work[Any], asyncio.Future[Any]]] = []
        self._drain: asyncio.Task[None] | None = None

    async def run(self, work: Work[T]) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._drain is None:
            self._drain = asyncio.create_task(self._run_all())
        return await future

    async def _run_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                outcomes = await super().run(partial(_try_all, [work for work, _ in batch]))
            except sqlite3.Error as error:
                outcomes = [(None, error)] * len(batch)
            for (_, future), (result, failure) in zip(batch, outcomes, strict=True):
                _resolve(future, result, failure)
        self._drain = None


def _restart_log(db: sqlite3.Connection) -> bool:
    """Whether the log is empty now. Source: sqlite.org, pragma.html, wal_checkpoint."""
    db.execute("PRAGMA busy_timeout = 100")
    try:
        (busy, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        return False
    finally:
        db.execute("PRAGMA busy_timeout = 5000")
    return not busy


def _try_all(works: list[Work[Any]], db: sqlite3.Connection) -> list[tuple[Any, Exception | None]]:
    return [_try(work, db) for work in works]


def _try(work: Work[Any], db: sqlite3.Connection) -> tuple[Any, Exception | None]:
    try:
        return work(db), None
    except Exception as error:
        return None, error


def _resolve(future: asyncio.Future[Any], result: Any, failure: Exception | None) -> None:
    if future.done():  # its client has gone
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
