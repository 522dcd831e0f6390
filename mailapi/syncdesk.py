"""The service's side of running sync jobs: what the runner is given, and what it tells.

    runs, tests = await desk.work(session, free, holding, seconds)  # waits for something
    stop = await desk.report(session, running, ended)       # at once; the runs that have to stop
    answer = await desk.test(fields)                        # for a client: a look at the remote

The runner is another process with other rights; it has no access to the database. It names itself
by a `session`, new at each start, and says which runs it has; when it has one no more, or has not
been heard for `LOST` seconds, the run is over. So no job stays "running" for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any, Final

import structlog

from .apply import Writer
from .batch import Job
from .caller import Caller
from .database import Reader
from .errors import MailapiError, NoRunner, RemoteFailed
from .rules import syncruns
from .rules.syncruns import Ended
from .secretbox import Secretbox
from .txn import Rule

LOST: Final = 30.0  # seconds
LOOK: Final = 0.3  # seconds between two looks for jobs that are due
PATIENCE: Final = 20.0  # seconds that a client waits for a test
UNREADABLE: Final = "password_unreadable"
_RUNNER: Final = Caller("local:sync", "sync runner", "write")
_log = structlog.get_logger("mailapi.sync")


class Desk:
    """`start` once the writer has started; `close` before it ends."""

    def __init__(self, writer: Writer, reader: Reader, box: Secretbox) -> None:
        self._writer, self._reader, self._box = writer, reader, box
        self._session: str | None = None
        self._heard = time.monotonic()
        self._numbers = itertools.count(1)
        self._tests: dict[int, tuple[Mapping[str, Any], asyncio.Future[Mapping[str, Any]]]] = {}
        self._waiting: list[int] = []
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._watch = asyncio.create_task(self._watching())

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    @property
    def attended(self) -> bool:
        """A runner has been heard of lately."""
        return self._session is not None and time.monotonic() - self._heard < LOST

    async def work(
        self, session: str, free: int, holding: Collection[int], seconds: float
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Up to `free` runs to begin, with `password1`, and tests, with a `number`.

        `holding` are the runs that it has: others are over, whoever had them. Nothing after
        `seconds` without anything. Raise `Unavailable`.
        """
        if set(await self._reader.run(_running)) - set(holding):
            await self._do(partial(syncruns.interrupt, holding=holding))
        if session != self._session:
            self._session = session
            _log.info("runner connected")
        deadline = time.monotonic() + seconds
        while True:
            self._heard = time.monotonic()
            tests, self._waiting = [self._test(n) for n in self._waiting], []
            runs = await self._claimed(session, free) if free else []
            if runs or tests or time.monotonic() >= deadline or session != self._session:
                return runs, tests
            await asyncio.sleep(LOOK)

    async def report(
        self, session: str, running: Iterable[Mapping[str, Any]], ended: Iterable[Ended]
    ) -> list[int]:
        """Keep what runs have done and how they ended; those of `running` that have to stop."""
        running = list(running)
        if session != self._session:
            return [one["run"] for one in running]
        self._heard = time.monotonic()
        if ended := list(ended):
            await self._do(partial(syncruns.end, ended=ended))
        stop: list[int] = json.loads(
            await self._do(partial(syncruns.progress, running=running)) if running else "[]"
        )
        return stop

    def tested(self, number: int, answer: Mapping[str, Any]) -> None:
        """What the remote side of a test said."""
        found = self._tests.get(number)
        if found is not None and not found[1].done():
            found[1].set_result(answer)

    async def test(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The remote side's folders. Raise `RemoteFailed`, `NoRunner`."""
        if not self.attended:
            raise NoRunner(retry_after=5)
        number = next(self._numbers)
        future: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._tests[number] = fields, future
        self._waiting.append(number)
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await future
        except TimeoutError:
            raise RemoteFailed.field("host1", "does not answer in time (timeout)") from None
        finally:
            del self._tests[number]
            with contextlib.suppress(ValueError):
                self._waiting.remove(number)
        if "reason" in answer:
            raise RemoteFailed.field(str(answer["field"]), f"{answer['reason']} ({answer['code']})")
        return answer

    def _test(self, number: int) -> dict[str, Any]:
        return {"number": number, **self._tests[number][0]}

    async def _claimed(self, session: str, free: int) -> list[dict[str, Any]]:
        if not await self._reader.run(syncruns.waiting):
            return []
        claim = partial(syncruns.claim, session=session, most=free)
        runs: list[dict[str, Any]] = json.loads(await self._do(claim))
        opened = []
        for run in runs:
            password = self._box.open(run.pop("secret"))
            if password is not None:
                opened.append(run | {"password1": password})
                continue
            output = "The key that password1 was encrypted with is lost; set password1 again."
            ended = Ended(run["run"], UNREADABLE, 0, 0, output)
            await self._do(partial(syncruns.end, ended=[ended]))
        return opened

    async def _watching(self) -> None:
        """Whoever is not heard of has no runs any more."""
        while True:
            await asyncio.sleep(LOST / 6)
            if time.monotonic() - self._heard < LOST:
                continue
            self._session = None
            try:
                if await self._reader.run(_running):
                    await self._do(partial(syncruns.interrupt, holding=()))
                    _log.warning("the sync runner is lost; its runs are over")
            except MailapiError as error:
                _log.warning("runs of a lost runner are not ended yet", cause=error.code)

    async def _do(self, rule: Rule) -> str:
        """Let the writer run the rule; the result's data."""
        committed = await self._writer.submit(Job([rule], _RUNNER, "sync"))
        return committed.outcome.results[0].data or ""


def _running(db: sqlite3.Connection) -> list[int]:
    rows = db.execute("SELECT running FROM sync_job WHERE running IS NOT NULL")
    return [run for (run,) in rows]
