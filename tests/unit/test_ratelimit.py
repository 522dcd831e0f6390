"""Rate limits, on a clock that the tests turn."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from mailapi.api import ratelimit
from mailapi.api.ratelimit import RateLimit, Window


@dataclass
class Clock:
    """Stands in for the time module: `now` is Unix time, `ticks` never goes back."""

    now: float = 1_800_000_000.0
    ticks: float = 50.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.ticks

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.ticks += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ratelimit, "time", clock)
    return clock


def test_a_window_counts_down_and_opens_again(clock: Clock) -> None:
    """The limit's last request passes, the next does not, and the window's end frees all."""
    limit = RateLimit(2, 60, 0)
    reset = int(clock.now) + 60
    assert limit.hit("a") == Window(2, 1, reset, True)
    clock.wait(10)
    assert limit.hit("a") == Window(2, 0, reset, True)
    assert limit.hit("a") == Window(2, 0, reset, False)
    clock.wait(50)
    assert limit.hit("a") == Window(2, 1, reset + 60, True)


def test_refused_requests_do_not_prolong_the_window(clock: Clock) -> None:
    """A client that goes on asking is let in again when the window is over."""
    limit = RateLimit(1, 60, 0)
    for _ in range(59):
        limit.hit("a")
        clock.wait(1)
    assert not _allowed(limit, "a")
    clock.wait(1)
    assert _allowed(limit, "a")


def test_identities_do_not_share(clock: Clock) -> None:
    """Each key and IPv4 address has its own count; one /64 of IPv6 addresses shares one."""
    limit = RateLimit(1, 60, 0)
    for identity in ("key:1", "key:2", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"):
        assert _allowed(limit, identity)
        assert not _allowed(limit, identity)
    assert not _allowed(limit, "2001:db8::ffff:2")


def test_zero_switches_off(clock: Clock) -> None:
    """Without a limit there is no window, and nobody is blocked."""
    limit = RateLimit(0, 60, 0)
    assert limit.hit("a") is None
    limit.auth_failure("192.0.2.1")
    assert limit.auth_blocked("192.0.2.1") is None


def test_failures_block_until_the_window_is_over(clock: Clock) -> None:
    """The address waits as long as it is told; requests and failures are counted apart."""
    limit = RateLimit(2, 60, 2)
    limit.hit("192.0.2.1")
    limit.auth_failure("192.0.2.1")
    assert limit.auth_blocked("192.0.2.1") is None
    limit.auth_failure("192.0.2.1")
    assert limit.auth_blocked("192.0.2.1") == 60
    assert limit.auth_blocked("192.0.2.2") is None
    clock.wait(59.5)
    assert limit.auth_blocked("192.0.2.1") == 1
    clock.wait(0.5)
    assert limit.auth_blocked("192.0.2.1") is None


def test_a_block_holds_for_the_whole_ipv6_network(clock: Clock) -> None:
    """Another address of the same /64 does not get new tries."""
    limit = RateLimit(0, 60, 1)
    limit.auth_failure("2001:db8::1")
    assert limit.auth_blocked("2001:db8::2") == 60
    assert limit.auth_blocked("2001:db8:1::2") is None


@pytest.mark.parametrize("step", [-86_400, 86_400])
def test_a_clock_that_is_set_blocks_nobody_longer(clock: Clock, step: int) -> None:
    """Windows are as long as configured, whatever happens to the wall clock."""
    limit = RateLimit(1, 60, 1)
    limit.hit("a")
    limit.auth_failure("a")
    clock.now += step
    assert limit.auth_blocked("a") == 60
    assert not _allowed(limit, "a")
    clock.wait(60)
    assert limit.auth_blocked("a") is None
    assert _allowed(limit, "a")


def test_counters_that_are_over_are_forgotten(clock: Clock) -> None:
    """Many addresses leave nothing behind once their windows are over."""
    limit = RateLimit(10, 60, 0)
    for number in range(1000):
        limit.hit(f"192.0.2.{number}")
    clock.wait(60)
    limit.hit("a")
    assert limit._limiter.storage.reset() == 1


def test_counters_are_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are too many at once, the oldest go."""
    monkeypatch.setattr(ratelimit, "MAX_COUNTERS", 10)
    limit = RateLimit(1, 60, 0)
    for number in range(100):
        limit.hit(f"192.0.2.{number}")
    assert not _allowed(limit, "192.0.2.99")
    assert limit._limiter.storage.reset() == 10


def test_no_thread_is_started() -> None:
    """Nothing runs in the background, so nothing outlives the service."""
    before = threading.active_count()
    limit = RateLimit(10, 60, 10)
    for _ in range(5):
        limit.hit("a")
        limit.auth_failure("a")
    assert threading.active_count() == before


def _allowed(limit: RateLimit, identity: str) -> bool:
    window = limit.hit(identity)
    return window is not None and window.allowed
