"""From the disk to the servers: rounds of generations that are durable and on their way to be live.

A round is opened when its generations are committed. Once it is published, it goes live in a task
of its own: the hook reloads a server that needs it, and Dovecot is asked until it has looked at its
file. `applied_generation` is the last one before the oldest open round.

A round that fails tells its waiters (`NotLive`) and stays open. It is tried again after a pause
that doubles, or with the next round, whichever comes first: publishing is cumulative, so a later
round takes over what an earlier one has missed. It can end in one way only: applied.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from .errors import DovecotStale, HookFailed, NotLive
from .hook import Hook
from .live import Live, Witness

PAUSES: Final = (0.5, 60.0)  # seconds before a failed round is tried again: first, longest
LATE: Final = 20.0  # seconds that an answer waits for its round
LAST: Final = 2.0  # seconds that closing waits for the rounds under way

_log = structlog.get_logger("mailapi.rounds")


@dataclass(eq=False)
class Round:
    """Generations `first` to `last`; none if `first` > `last`. `done` tells the error, or None."""

    first: int
    last: int
    reload: tuple[str, ...] = ()  # the servers to be reloaded
    look: bool = False  # Dovecot's file has changed
    witness: Witness | None = None  # a mailbox whose line is new in it
    anew: bool = False  # or any of its lines may be new, or gone
    done: asyncio.Future[NotLive | None] = field(default_factory=asyncio.Future)

    async def wait(self) -> NotLive | None:
        """Why it is not live yet; None if it is."""
        try:
            async with asyncio.timeout(LATE):
                return await asyncio.shield(self.done)
        except TimeoutError:
            return HookFailed("The mail servers are late in taking it over.")

    def take_over(self, missed: Round) -> None:
        self.first, self.last = min(self.first, missed.first), max(self.last, missed.last)
        self.reload = tuple(dict.fromkeys((*self.reload, *missed.reload)))
        self.look |= missed.look
        self.anew |= missed.anew
        self.witness = self.witness or missed.witness


class Rounds:
    """`retry` is called when a failed round is due, `live` with what is applied when one is."""

    def __init__(
        self,
        hook: Hook,
        dovecot: Live,
        retry: Callable[[], None],
        live: Callable[[int], None],
    ) -> None:
        self._hook, self._dovecot = hook, dovecot
        self._on_retry, self._on_live = retry, live
        self._open: list[Round] = []
        self._missed: list[Round] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloads: dict[str, asyncio.Task[None]] = {}  # that have not begun
        self._reloading = asyncio.Lock()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._pause = PAUSES[0]
        self.generation = 0  # the newest that is durable
        self.failure: NotLive | None = None
        self.failures = 0

    @property
    def applied_generation(self) -> int:
        """Postfix and Dovecot act on everything up to this one."""
        return min([round_.first for round_ in self._open] + [self.generation + 1]) - 1

    @property
    def missed(self) -> bool:
        """Something has to be published again."""
        return bool(self._missed)

    def open(self, first: int, last: int) -> Round:
        """The generations are committed."""
        round_ = Round(first, last)
        self.generation = max(self.generation, last)
        self._open.append(round_)
        return round_

    def underway(self) -> list[Round]:
        """The rounds that are not live yet, failed ones too."""
        return list(self._open)

    def published(self, round_: Round) -> None:
        """The round is on disk, and all that came before it."""
        for missed in self._missed:
            round_.take_over(missed)
            self._open.remove(missed)
        self._missed.clear()
        task = asyncio.create_task(self._go_live(round_))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def failed(self, round_: Round, error: NotLive) -> None:
        """Tell its waiters, and try again later."""
        self.failure = error
        self.failures += 1
        self._missed.append(round_)
        _log.error("not live", code=error.code, msg=error.msg, cause=repr(error.__cause__))
        _resolve(round_.done, error)
        self.retry_later()

    def retry_later(self) -> None:
        """Call `retry` after a pause, once."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._pause, self._try_again)
            self._pause = min(self._pause * 2, PAUSES[1])

    async def until(self, generation: int, seconds: float) -> bool:
        """Whether the generation is live, after `seconds` at the latest."""
        if self.applied_generation < generation:
            future = asyncio.get_running_loop().create_future()
            self._waiters.append((generation, future))
            await asyncio.wait([future], timeout=seconds)
            self._waiters = [(g, f) for g, f in self._waiters if f is not future]
        return self.applied_generation >= generation

    def release(self) -> None:
        """Let all who wait in `until` have their answer now."""
        for _, future in self._waiters:
            if not future.done():
                future.set_result(None)

    async def close(self) -> None:
        """Stop trying; what is not live soon is taken up at the next start."""
        if self._timer is not None:
            self._timer.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST)
        for task in [*self._tasks, *self._reloads.values()]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _go_live(self, round_: Round) -> None:
        work = [self._dovecot.seen(round_.witness)] if round_.look else []
        work += [self._dovecot.seen(None)] if round_.anew and round_.witness else []
        work += [self._reload(server) for server in round_.reload]
        try:
            for ended in await asyncio.gather(*work, return_exceptions=True):
                if isinstance(ended, BaseException):
                    raise ended
        except NotLive as error:
            self.failed(round_, error)
        except Exception:
            _log.exception("going live failed", generation=round_.last)
            self.failed(round_, DovecotStale())
        else:
            self._succeeded(round_)

    def _succeeded(self, round_: Round) -> None:
        self._open.remove(round_)
        if not self._missed:
            self.failure, self._pause = None, PAUSES[0]
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        _resolve(round_.done, None)
        applied = self.applied_generation
        for generation, future in self._waiters:
            if generation <= applied and not future.done():
                future.set_result(None)
        self._on_live(applied)

    async def _reload(self, server: str) -> None:
        """One run of the hook serves all who asked before it began."""
        task = self._reloads.get(server)
        if task is None:
            task = self._reloads[server] = asyncio.create_task(self._next_reload(server))
        await asyncio.shield(task)

    async def _next_reload(self, server: str) -> None:
        async with self._reloading:
            del self._reloads[server]
            await self._hook.run("reload", server)

    def _try_again(self) -> None:
        self._timer = None
        self._on_retry()


def _resolve(future: asyncio.Future[NotLive | None], error: NotLive | None) -> None:
    if not future.done():
        future.set_result(error)
