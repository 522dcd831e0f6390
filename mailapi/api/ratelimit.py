"""Rate limits: requests by key or client address, and failed log-ins by client address.

Windows are fixed: the first hit opens one of `period` seconds, and the count starts again after
it. That costs one look-up a request and lets at most twice the limit through around a border.
IPv6 clients are counted by their /64, which is what one customer gets.

The counters are a storage for the `limits` library without its background thread: its own
MemoryStorage starts a thread for nearly every hit of a service that is not under load. Windows
all have the same length, so the oldest is the first in the dictionary, and each new one removes
those that are over. There are never more than `MAX_COUNTERS`.

Belongs to one event loop; nothing is stored, a restart forgets the counts.
"""

from __future__ import annotations

import ipaddress
import math
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from limits import RateLimitItemPerSecond
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

MAX_COUNTERS: Final = 100_000  # about 20 MB


@dataclass(frozen=True, slots=True)
class Window:
    """What the X-RateLimit headers say; `reset` is a Unix time in whole seconds."""

    limit: int
    remaining: int
    reset: int
    allowed: bool


class RateLimit:
    """`requests` and `auth_failures` in `period` seconds; 0 of either switches that limit off."""

    def __init__(self, requests: int, period: int, auth_failures: int) -> None:
        self._limiter = FixedWindowRateLimiter(_Counters())
        self._requests = RateLimitItemPerSecond(requests, period, "requests")
        self._failures = RateLimitItemPerSecond(auth_failures, period, "auth")

    def hit(self, identity: str) -> Window | None:
        """Count a request of a key or an address; None if requests are not limited."""
        item, counter = self._requests, _counter(identity)
        if not item.amount:
            return None
        allowed = self._limiter.hit(item, counter)
        stats = self._limiter.get_window_stats(item, counter)
        return Window(item.amount, stats.remaining, math.ceil(stats.reset_time), allowed)

    def auth_failure(self, address: str) -> None:
        """Count a request with a wrong key or password."""
        if self._failures.amount:
            self._limiter.hit(self._failures, _counter(address))

    def auth_blocked(self, address: str) -> int | None:
        """The seconds an address with too many failures has to wait; None if it may try."""
        counter = _counter(address)
        if not self._failures.amount or self._limiter.test(self._failures, counter):
            return None
        reset = self._limiter.get_window_stats(self._failures, counter).reset_time
        return max(1, math.ceil(reset - time.time()))


class _Counters(Storage):
    """Counts by key, each with the end of its window on the monotonic clock."""

    STORAGE_SCHEME = None  # not for storage_from_string

    def __init__(self) -> None:
        super().__init__()
        self._windows: dict[str, tuple[int, float]] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = time.monotonic()
        count, end = self._windows.get(key, (0, now))
        if end <= now:
            self._windows.pop(key, None)
            self._make_room(now)
            count, end = 0, now + expiry
        self._windows[key] = count + amount, end
        return count + amount

    def get(self, key: str) -> int:
        now = time.monotonic()
        count, end = self._windows.get(key, (0, now))
        return count if end > now else 0

    def get_expiry(self, key: str) -> float:
        now = time.monotonic()
        return time.time() + max(0.0, self._windows.get(key, (0, now))[1] - now)

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        size = len(self._windows)
        self._windows.clear()
        return size

    def clear(self, key: str) -> None:
        self._windows.pop(key, None)

    def _make_room(self, now: float) -> None:
        while self._windows:
            oldest = next(iter(self._windows))
            if self._windows[oldest][1] > now and len(self._windows) < MAX_COUNTERS:
                return
            del self._windows[oldest]


@lru_cache(maxsize=4096)
def _counter(identity: str) -> str:
    """An IPv6 address's /64; any other identity itself."""
    if ":" not in identity:
        return identity
    try:
        return str(ipaddress.IPv6Network((identity, 64), strict=False))
    except ValueError:
        return identity
