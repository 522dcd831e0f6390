"""Waits until every log-in through Dovecot is checked against the users file just renamed.

    live = Live(userdb, look_interval=1)
    await live.seen(Witness("ann@example.com", generation=7, present=True))

What Dovecot does (src/auth/db-passwd-file.c): the first lookup of each second of the clock stats
the file, and reads it if its time or size is another; the further lookups of that second take
what was read. passdb and userdb share it. Two things follow, and nothing else is relied on:
- an answer that only the new file can give proves that all later lookups have it, or a newer one;
- a lookup in a later second than the rename has it, too.

So `seen` asks at once, if nobody asked in this second: that may pin the old file until the next
second, but on a quiet Dovecot shows the new one within a millisecond. Otherwise all callers of a
second share one wait for the next second and one question there, about the last rename before it.
Even then the answer must show the change: it finds out a Dovecot that reads another file.

A `NOTFOUND` proves less than a generation: the file before the one that brought the user lacks it,
too. It counts at once only if no other rename was in the same second, and else in a later one.

Without a userdb it waits for the next `look_interval` and hopes: a Dovecot that is busy with a
hundred log-ins at that moment may be late. Known limit: after a reload, Dovecot's old auth process
serves those who stay connected (Postfix's smtpd), and looks at the file in its own time, at most a
second later.

Raises `DovecotStale` if Dovecot does not answer, or does not show the change in 3 later seconds.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from .errors import DovecotStale
from .userdb import Userdb

LOOKS: Final = 3  # seconds in which a change may not show, before that is an error
_ROUNDS: Final = 12  # and in any case, whatever the clock and later changes do
_MARGIN: Final = 0.002  # seconds after the full second: timers and slewed clocks are not exact
_UNASKED_MARGIN: Final = 0.05  # where no answer tells whether Dovecot is so far

_USER: Final = re.compile(rb"^([^:]+):.*userdb_mailapi_generation=(\d+)$", re.MULTILINE)
_NOT_SHOWN: Final = (
    "Dovecot answers, but does not show the change: it reads another users file than this service "
    "writes, or keeps log-ins in a cache (auth_cache_size), or its clock differs; compare its "
    "settings with those that `mailapi config dovecot` prints."
)
_ENDED: Final = "The wait for Dovecot was ended: the service stops, or its log says why."

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Witness:
    """How to tell the new file from all before: one line that the publish changed.

    `generation` is the publish's, and the one on the line; with `present` False the line of
    `address` is gone.
    """

    address: str
    generation: int
    present: bool

    def shows(self, answer: int | None) -> bool:
        """Whether Dovecot's answer about the address is of this publish or a later one."""
        if answer is None:
            return not self.present
        return answer >= self.generation if self.present else answer > self.generation


_NOBODY: Final = Witness("nobody@mailapi.invalid", 0, present=False)


@dataclass(eq=False, slots=True)
class _Call:
    """One call of `seen`, kept until it is answered, even if nobody waits for it any more."""

    witness: Witness
    second: int  # of the clock, in which the rename had been done
    proves: bool  # its answer is proof even within that second
    live: asyncio.Future[None]
    looks: int = 0  # in vain, in later seconds
    rounds: int = 0


def witness_of(users: Mapping[bytes, bytes | None], generation: int) -> Witness | None:
    """One of the changed lines of Dovecot's file, the newest of those that are there."""
    present = b"".join(line for line in users.values() if line)
    gone = [key for key, line in users.items() if line is None]
    if not present and gone:
        return Witness(gone[0].decode(), generation, present=False)
    return newest(present)


def newest(users: bytes) -> Witness | None:
    """The mailbox whose line is the newest in the text of Dovecot's file."""
    found = max(_USER.findall(users), key=lambda user: int(user[1]), default=None)
    name = found[0].decode().replace("\\", "") if found else ""
    return Witness(name, int(found[1]), present=True) if found else None


class Live:
    """One per users file; `look_interval` in seconds, 0: there is no Dovecot, nothing waits.

    `clock` in seconds since the epoch. It belongs to one event loop; the userdb is not closed.
    """

    def __init__(
        self,
        userdb: Userdb | None,
        look_interval: float,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._userdb = userdb
        self._interval = look_interval
        self._clock = clock
        self._sleep = sleep
        self._calls: list[_Call] = []  # in the order of their renames
        self._last: _Call | None = None  # of the last rename, answered or not
        self._newest = 0  # generation
        self._renamed = int(clock())  # the second of the last rename, maybe of one before us
        self._asked = -1  # the second of the last question
        self._looking: asyncio.Task[None] | None = None

    async def seen(self, witness: Witness | None) -> None:
        """Returns when log-ins are certain to use the file just renamed, or a newer one.

        Call it after each rename, in their order; not waiting for one before the next is fine.
        With None after a rename that no line tells (all of it rendered anew): live in the next
        second. Raises DovecotStale.
        """
        if not self._interval:
            return
        if self._userdb is None:
            await self._wait_out()
            return
        call = self._call(witness or _NOBODY)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(self._userdb))
        await call.live

    async def close(self) -> None:
        """End all waits with DovecotStale."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
            self._fail(self._calls[:], _ENDED)  # it may not even have begun

    async def _wait_out(self) -> None:
        now = self._clock()
        await self._sleep(math.floor(now) + self._interval - now + _UNASKED_MARGIN)

    def _call(self, witness: Witness) -> _Call:
        second = int(self._clock())
        new = witness.generation > self._newest and (witness.present or second > self._renamed)
        call = _Call(witness, second, new, asyncio.get_running_loop().create_future())
        self._newest = max(self._newest, witness.generation)
        self._renamed = second
        self._last = call
        self._calls.append(call)
        return call

    async def _look(self, userdb: Userdb) -> None:
        """Until no call is left: ask, now or in the next second."""
        try:
            while self._calls:
                await self._round(userdb)
        except Exception:
            _log.exception("look at Dovecot failed")
        finally:
            self._fail(self._calls[:], _ENDED)

    async def _round(self, userdb: Userdb) -> None:
        await self._until_unasked()
        self._asked = second = int(self._clock())
        calls = self._calls[:]
        for call in calls:
            call.rounds += 1
            call.second = min(call.second, second)  # the clock was put back
        due = [call for call in calls if call.second < second]
        try:
            # the last rename first: it answers for all before
            if calls[-1] not in due and calls[-1].proves and await self._ask(userdb, calls[-1], []):
                return
            if due and await self._ask(userdb, due[-1], due):
                return
        except DovecotStale as error:
            self._fail(calls, error.msg)
        else:
            self._give_up(calls)

    async def _until_unasked(self) -> None:
        now = self._clock()
        if int(now) == self._asked:
            await self._sleep(math.floor(now) + 1 - now + _MARGIN)

    async def _ask(self, userdb: Userdb, call: _Call, due: list[_Call]) -> bool:
        """Ask about one call; if it is shown, so are those before it, and they are ended.

        If not, that was a look in vain for `due`: unless a later publish may have removed the user.
        """
        answer = await userdb.ask(call.witness.address)
        if call.witness.shows(answer):
            self._end(self._calls[: self._calls.index(call) + 1])
            return True
        if answer is not None or call is self._last:
            for each in due:
                each.looks += 1
        return False

    def _give_up(self, calls: list[_Call]) -> None:
        late = [call for call in calls if call.looks >= LOOKS or call.rounds >= _ROUNDS]
        self._fail(late, _NOT_SHOWN)

    def _fail(self, calls: list[_Call], msg: str) -> None:
        for call in calls:
            if not call.live.done():
                call.live.set_exception(DovecotStale(msg))
        self._end(calls)

    def _end(self, calls: list[_Call]) -> None:
        for call in calls:
            self._calls.remove(call)
            if not call.live.done():
                call.live.set_result(None)
