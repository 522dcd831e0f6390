"""The service's side of running sync jobs: what the runner is given, and what it tells.

    runs, tests = await desk.work(runner, free, holding, seconds)  # waits for something
    stop = await desk.report(runner, running, ended, tested)  # at once; the runs that have to stop
    answer = await desk.test(fields)                        # for a client: a look at the remote

The runner is another process with other rights; it has no access to the database. It says which
runs it has; when it has one no more, or has not been heard of for long, the run is over. So no job
stays "running" for ever.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import structlog

from .apply import Writer
from .batch import Job
from .caller import Caller
from .database import Reader
from .errors import MailapiError, NoRunner, StateError
from .rules import syncruns
from .rules.syncruns import Ended
from .secretbox import Secretbox
from .synclooks import Looks
from .syncpresence import LOST, Held, Presence
from .txn import Rule

LOOK: Final = 0.1  # seconds between two looks for jobs that are due
UNREADABLE: Final = "password_unreadable"
_OTHER_KEY: Final = "The key that password1 was encrypted with is lost; set password1 again."
_NO_KEYS: Final = "The keys of the passwords cannot be read; see [sync] key_file."
_RUNNER: Final = Caller("local:sync", "sync runner", "write")
_log = structlog.get_logger("mailapi.sync")


class Runner(NamedTuple):
    """Who asks: the session that it has named itself, and its process."""

    session: str
    pid: int


class Desk:
    """`start` once the writer has started; `close` before it ends."""

    def __init__(self, writer: Writer, reader: Reader, box: Secretbox) -> None:
        self._writer, self._reader, self._box = writer, reader, box
        self._presence, self._held, self._looks = Presence(), Held(), Looks()
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
        return self._presence.attended

    async def work(
        self, runner: Runner, free: int, holding: Collection[int], seconds: float
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Up to `free` runs to begin, with `password1`, and tests, with a `number`.

        `holding` are the runs that it has: others are over, whoever had them. Nothing after
        `seconds` without anything. Raise `RunnerBusy`, `Unavailable`.
        """
        self._presence.meet(*runner)
        await self._settle(holding)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            tests = self._looks.take()
            runs = await self._claimed(runner.session, free) if free else []
            stays = self._presence.stays(runner.session)
            if runs or tests or loop.time() >= deadline or not stays:
                return runs, tests
            await asyncio.sleep(LOOK)

    async def report(
        self,
        runner: Runner,
        running: Sequence[Mapping[str, Any]],
        ended: Sequence[Ended],
        tested: Iterable[tuple[int, Mapping[str, Any]]],
    ) -> list[int]:
        """Keep what runs have done and how they ended; those of `running` that have to stop.

        How a run ended is kept whoever tells it. Raise `RunnerBusy`, `Unavailable`.
        """
        if ended:
            await self._do(partial(syncruns.end, ended=ended))
        for one in ended:
            self._held.end(one.run)
        self._presence.meet(*runner)
        for number, answer in tested:
            self._looks.answered(number, answer)
        if not running:
            return []
        stop: list[int] = json.loads(await self._do(partial(syncruns.progress, running=running)))
        return stop

    async def test(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The remote side's folders. Raise `RemoteFailed`, `NoRunner`."""
        if not self.attended:
            raise NoRunner(retry_after=5)
        return await self._looks.ask(fields)

    async def _settle(self, holding: Collection[int]) -> None:
        """End the runs that the runner does not have; learn the mailboxes of those that it has."""
        if set(await self._reader.run(_running)) - set(holding):
            await self._do(partial(syncruns.interrupt, holding=holding))
        self._held.has(holding)
        if self._held.unknown:
            find = partial(syncruns.mailboxes, runs=sorted(self._held.unknown))
            self._held.learn(await self._reader.run(find))

    async def _claimed(self, session: str, free: int) -> list[dict[str, Any]]:
        """Nothing while an engine may have any mailbox: its job is gone, and will be stopped."""
        held = self._held.mailboxes
        if self._held.unknown or not await self._reader.run(partial(syncruns.waiting, held=held)):
            return []
        claim = partial(syncruns.claim, session=session, most=free, held=held)
        runs: list[dict[str, Any]] = json.loads(await self._do(claim))
        return [opened for run in runs if (opened := await self._opened(run)) is not None]

    async def _opened(self, run: dict[str, Any]) -> dict[str, Any] | None:
        """The run with its password; None, and the run's end, if that cannot be read."""
        try:
            password, output = self._box.open(run.pop("secret")), _OTHER_KEY
        except StateError as error:
            _log.error("the keys of sync jobs' passwords cannot be used", cause=error.msg)
            password, output = None, _NO_KEYS
        if password is None:
            ended = Ended(run["run"], UNREADABLE, 0, 0, output)
            await self._do(partial(syncruns.end, ended=[ended]))
            return None
        self._held.learn({run["run"]: run["username"]})
        return run | {"password1": password}

    async def _watching(self) -> None:
        """Whoever is not heard of has no runs any more."""
        while True:
            await asyncio.sleep(LOST / 6)
            if not self._presence.silent:
                continue
            self._presence.lose()
            try:
                if await self._reader.run(_running):
                    await self._do(partial(syncruns.interrupt, holding=()))
                    _log.warning("the sync runner is lost; its runs are over")
            except (MailapiError, sqlite3.Error) as error:
                cause = type(error).__name__
                _log.warning("runs of a lost runner are not ended yet", cause=cause)

    async def _do(self, rule: Rule) -> str:
        """Let the writer run the rule; the result's data."""
        committed = await self._writer.submit(Job([rule], _RUNNER, "sync"))
        return committed.outcome.results[0].data or ""


def _running(db: sqlite3.Connection) -> list[int]:
    rows = db.execute("SELECT running FROM sync_job WHERE running IS NOT NULL")
    return [run for (run,) in rows]
