"""The writer: one task that turns the changes that wait into what Postfix and Dovecot act on.

    submit(job) -> batch        one transaction of all that wait; COMMIT makes it durable
                -> publish      files and maps on disk; from here on only repeated
                -> live         the hook if needed; until Dovecot has looked at its file (rounds)
                -> applied      the answer says applied:true

Who reads this module knows the service. The writer alone writes the database and the files. It
takes all that wait, `MOST` at a time, so that load makes batches bigger and not queues longer; and
it does not wait for *live*, so the next batch runs meanwhile. Postfix needs a reload for texthash
maps, and for the map of transports: qmgr(8) remembers its last look-up there for half a minute.

`start` renders the whole state and sends it the same way: recovery is the normal path. It refuses
(`ShrunkenMap`) to empty files by accident, unless the database has changes that were not yet live.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog

from . import batch, whole
from .batch import Batch, Job, Outcome
from .database import Connection
from .entries import FILES, TRANSPORTS, USERS
from .errors import NotLive, PublishFailed, ShuttingDown, StateError, Unavailable
from .hook import Hook
from .kick import Kicker
from .live import Live, Witness, newest, witness_of
from .publish import Changed, Publisher
from .render import Renderer
from .rounds import Round, Rounds

T = TypeVar("T")

MOST: Final = 256  # jobs in a transaction
IDLE: Final = 1.0  # seconds until the applied generation is recorded

_log = structlog.get_logger("mailapi.apply")


@dataclass(frozen=True)
class Committed:
    """A change that is durable. `live()` waits, and tells why it is not live, or None if it is."""

    outcome: Outcome
    live: Callable[[], Awaitable[NotLive | None]]


@dataclass(eq=False)
class _Item:
    """What waits in the queue: a job, or None to publish everything again."""

    job: Job | None
    done: asyncio.Future[Committed] = field(default_factory=asyncio.Future)


class Writer:
    """Open the connection before; `start` before use. `map_type` is Postfix's."""

    def __init__(
        self,
        connection: Connection,
        publisher: Publisher,
        renderer: Renderer,
        hook: Hook,
        live: Live,
        map_type: str,
    ) -> None:
        self._db, self._publisher = connection, publisher
        self._renderer, self._hook = renderer, hook
        maps = {file.name for file in FILES if file is not USERS}
        self._map_type = map_type
        self._need_reload = maps if map_type == "texthash" else {TRANSPORTS.name}
        self._kicker = Kicker(connection, hook)
        self.rounds = Rounds(hook, live, self._retry, self._kicker.wake)
        self._queue: asyncio.Queue[_Item | None] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "publish")
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._lost = False
        self._recorded = 0
        self.batches = self.jobs = 0

    async def start(self, force: bool = False) -> None:
        """Make the files what the database says. Raise `ShrunkenMap`, `StateError`."""
        try:
            generation, self._recorded = await self._db.run(_generations)
            wished = await self._db.run(lambda db: whole.whole(db, self._renderer))
        except sqlite3.Error as error:
            raise StateError(
                "The database cannot be read: it is damaged; restore a backup."
            ) from error
        if generation == self._recorded and not force:
            await self._in_thread(lambda: self._publisher.check(wished))
        round_ = self.rounds.open(max(1, min(self._recorded + 1, generation)), generation)
        if self._map_type == "texthash" and generation != self._recorded:
            round_.reload = ("postfix",)  # the files may be right since before a crash
        self._kicker.expect(generation)
        await self._publish(
            round_, lambda: self._publisher.load(wished), newest(wished[USERS.name])
        )
        self._task = asyncio.create_task(self._run())

    async def submit(self, job: Job) -> Committed:
        """Return once the job is durable; raise what its rules raise, and `Unavailable`.

        A caller that is cancelled stops nothing that was begun.
        """
        return await self._put(_Item(job))

    async def apply(self) -> Committed:
        """Render, publish and reload everything again."""
        return await self._put(_Item(None))

    @property
    def alive(self) -> bool:
        """Started, and its task has not ended."""
        return self._task is not None and not self._task.done()

    async def close(self) -> None:
        """Finish what waits; refuse what comes."""
        self._closing = True
        if self._task is not None:
            self._queue.put_nowait(None)
            await self._task
            await self._record()
        await self._kicker.close()
        await self.rounds.close()
        self._thread.shutdown()
        self._publisher.close()

    async def _put(self, item: _Item) -> Committed:
        if self._closing:
            raise ShuttingDown(retry_after=5)
        self._queue.put_nowait(item)
        return await asyncio.shield(item.done)

    async def _run(self) -> None:
        while not (self._closing and self._queue.empty()):
            items = await self._next()
            await (self._handle(items) if items else self._record())

    async def _next(self) -> list[_Item | None]:
        """All that wait; nothing, if nothing comes and the applied generation may be recorded."""
        idle = IDLE if self._recorded != self.rounds.generation else None
        try:
            items = [await asyncio.wait_for(self._queue.get(), idle)]
        except TimeoutError:
            return []
        while len(items) < MOST and not self._queue.empty():
            items.append(self._queue.get_nowait())
        return items

    async def _handle(self, items: list[_Item | None]) -> None:
        jobs = [item for item in items if item and item.job]
        wholes = [item for item in items if item and not item.job]
        try:
            if jobs:
                await self._write(jobs)
            if wholes or self._lost:
                await self._publish_everything(wholes)
            elif None in items and self.rounds.missed:
                round_ = self.rounds.open(self.rounds.generation + 1, self.rounds.generation)
                await self._publish(round_, lambda: self._publisher.publish({}))
        except Exception as error:
            _log.exception("the writer failed")
            _fail([*jobs, *wholes], error)
            self.rounds.retry_later()

    async def _write(self, items: list[_Item]) -> None:
        """One transaction for all; if it cannot be rendered, one for each, to find the culprit."""
        jobs = [item.job for item in items if item.job]
        applied, kick = self._applied(), self._hook.enabled
        try:
            done = await self._db.run(lambda db: batch.run(db, jobs, self._renderer, applied, kick))
        except Exception as error:
            if len(items) == 1 or isinstance(error, sqlite3.OperationalError | Unavailable):
                return _fail(items, error)
            for item in items:
                await self._write([item])
            return None
        self.batches += 1
        self.jobs += len(jobs)
        await self._publish_batch(items, done, applied)
        return await self._db.tidy()

    async def _publish_batch(self, items: list[_Item], done: Batch, applied: int) -> None:
        round_ = None
        if done.first <= done.last:
            self._recorded = applied
            round_ = self.rounds.open(done.first, done.last)
            if done.kicks:
                self._kicker.expect(done.last)
        for item, outcome in zip(items, done.outcomes, strict=True):
            self._answer(item, outcome, round_)
        if round_:
            await self._publish(round_, lambda: self._publisher.publish(done.edits))

    def _answer(self, item: _Item, outcome: Outcome, round_: Round | None) -> None:
        if outcome.error is not None:
            outcome.error.failed_at = outcome.failed_at  # type: ignore[attr-defined]  # for /batch
            item.done.set_exception(outcome.error)
        else:  # what changed nothing may still show what is not live yet
            waits = [round_] if round_ and outcome.changed else self.rounds.underway()
            item.done.set_result(Committed(outcome, lambda: _all_live(waits)))

    async def _publish_everything(self, items: list[_Item]) -> None:
        wished = await self._db.run(lambda db: whole.whole(db, self._renderer))
        self._lost = False
        round_ = self.rounds.open(self.rounds.generation + 1, self.rounds.generation)
        if self._hook.enabled and items:
            round_.reload = ("postfix", "dovecot")
        outcome = Outcome(generation=self.rounds.generation)
        for item in items:
            item.done.set_result(Committed(outcome, lambda: _all_live(self.rounds.underway())))
        await self._publish(
            round_, lambda: self._publisher.load(wished), newest(wished[USERS.name])
        )

    async def _publish(
        self, round_: Round, work: Callable[[], Changed], witness: Witness | None = None
    ) -> None:
        """Do the work on the files, and let the round go live."""
        try:
            changed = await self._in_thread(work)
        except PublishFailed as error:
            return self.rounds.failed(round_, error)
        except Exception:
            _log.exception("publishing failed", generation=round_.last)
            self._lost = True  # what the files should hold: only the database knows
            return self.rounds.failed(round_, PublishFailed(PublishFailed.default))
        if changed.keys() & self._need_reload:
            round_.reload = tuple(dict.fromkeys(("postfix", *round_.reload)))
        round_.look = witness is not None or USERS.name in changed
        round_.anew = changed.get(USERS.name) == {}
        round_.witness = witness or witness_of(changed.get(USERS.name, {}), round_.last)
        return self.rounds.published(round_)

    def _applied(self) -> int:
        """What the database is told; never less than it was told before."""
        return max(self._recorded, self.rounds.applied_generation)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _record(self) -> None:
        """If that fails, the next start has more to look at, and nothing else is lost."""
        applied = self._applied()
        if applied == self._recorded:
            return
        try:
            await self._db.run(lambda db: db.execute("UPDATE state SET applied = ?", (applied,)))
            self._recorded = applied
        except sqlite3.Error as error:
            _log.warning("the applied generation is not recorded", cause=repr(error))

    def _retry(self) -> None:
        if not self._closing:
            self._queue.put_nowait(None)


async def _all_live(rounds: list[Round]) -> NotLive | None:
    """The first error of the rounds, once all have ended well or one has not."""
    for round_ in rounds:
        if error := await round_.wait():
            return error
    return None


def _fail(items: list[_Item], error: Exception) -> None:
    for item in items:
        if not item.done.done():
            item.done.set_exception(error)


def _generations(db: sqlite3.Connection) -> tuple[int, int]:
    generation, applied = db.execute("SELECT generation, applied FROM state").fetchone()
    return generation, applied
