"""Which runner is there, and which mailboxes its engines have.

    presence.meet(session, pid)     # it is heard of; `RunnerBusy` while another one is there
    held.has(holding)               # it has these runs and no others
    held.mailboxes                  # of these; no other run of them may begin

A runner names itself by a `session`, new at each start. Another one takes its place when its
process is gone, or when it has not been heard of for `LOST` seconds.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection, Mapping
from typing import Final

import structlog

from .errors import RunnerBusy

LOST: Final = 30.0  # seconds
_log = structlog.get_logger("mailapi.sync")


class Presence:
    """At first there is none; whoever comes first is taken, as after a restart of the service."""

    def __init__(self) -> None:
        self._session: str | None = None
        self._pid = 0
        self._heard = time.monotonic()

    def meet(self, session: str, pid: int) -> None:
        """`pid` is its process. Raise `RunnerBusy`."""
        if session != self._session:
            if self.attended and pid != self._pid and not _gone(self._pid):
                raise RunnerBusy
            self._session, self._pid = session, pid
            _log.info("runner connected", pid=pid)
        self._heard = time.monotonic()

    def stays(self, session: str) -> bool:
        """It is there and heard of, unless another one has come."""
        if session != self._session:
            return False
        self._heard = time.monotonic()
        return True

    @property
    def attended(self) -> bool:
        """A runner has been heard of lately."""
        return self._session is not None and not self.silent

    @property
    def silent(self) -> bool:
        """Nobody has been heard of for long."""
        return time.monotonic() - self._heard >= LOST

    def lose(self) -> None:
        self._session = None


class Held:
    """The runner's runs: those that it says it has, and those that it was given since.

    A run outlives its job, which may be removed while the engine still ends, and made again.
    """

    def __init__(self) -> None:
        self._mailboxes: dict[int, str] = {}
        self._over: set[int] = set()  # reported, though the runner did not know that yet
        self.unknown: set[int] = set()  # whose mailboxes nobody knows

    def has(self, holding: Collection[int]) -> None:
        """What it said when it asked for work; what has ended meanwhile is over nevertheless."""
        self._over &= set(holding)
        held = set(holding) - self._over
        self._mailboxes = {run: box for run, box in self._mailboxes.items() if run in held}
        self.unknown = held - self._mailboxes.keys()

    def learn(self, mailboxes: Mapping[int, str]) -> None:
        """The mailboxes of runs."""
        self._mailboxes |= mailboxes
        self.unknown -= mailboxes.keys()

    def end(self, run: int) -> None:
        self._over.add(run)
        self._mailboxes.pop(run, None)
        self.unknown.discard(run)

    @property
    def mailboxes(self) -> list[str]:
        return sorted(set(self._mailboxes.values()))


def _gone(pid: int) -> bool:
    """Whether there is no process of this number; 0 is one that cannot be seen from here."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.ESRCH
    return False
