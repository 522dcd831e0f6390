"""Rate limits through HTTP: headers, 429 with Retry-After, by key and by address."""

from __future__ import annotations

import time
from typing import Any

import pytest
from restapi import Api

from mailapi import keys
from mailapi.api import ratelimit

NEVER = keys.new()


async def counting(start: Any, requests: int = 5, failures: int = 3, **settings: object) -> Api:
    api: Api = await start(
        rate_limit__requests=requests, rate_limit__auth_failures=failures, **settings
    )
    return api


async def test_the_headers_count_down(start: Any) -> None:
    """Limit, what remains, and when the window ends, on each answer; then 429."""
    api = await counting(start)
    for number in range(5):
        answer = await api.get("/status" if number % 2 else "/nothing")
        assert answer.status in (200, 404)
        assert answer.headers["X-RateLimit-Limit"] == "5"
        assert answer.headers["X-RateLimit-Remaining"] == str(4 - number)
        assert 0 <= int(answer.headers["X-RateLimit-Reset"]) - time.time() <= 61
    answer = await api.get("/status")
    answer.fault(429, "rate_limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert answer.headers["X-RateLimit-Remaining"] == "0"


async def test_each_key_has_its_own(start: Any) -> None:
    """One client's haste is not another's."""
    api = await counting(start)
    other = api.key()
    for _ in range(6):
        await api.get("/status")
    assert (await api.get("/status")).status == 429
    assert (await other.get("/status")).headers["X-RateLimit-Remaining"] == "4"


async def test_without_a_key_the_address_counts(start: Any) -> None:
    """Open pages, missing keys and wrong ones are one count; a valid key is not in it."""
    api = await counting(start, failures=0)
    stranger, wrong = api.using(None), api.using(NEVER)
    assert (await stranger.get("/healthz")).headers["X-RateLimit-Remaining"] == "4"
    assert (await stranger.get("/status")).headers["X-RateLimit-Remaining"] == "3"
    assert (await wrong.get("/status")).headers["X-RateLimit-Remaining"] == "2"
    assert (await wrong.get("/healthz")).headers["X-RateLimit-Remaining"] == "1"
    assert (await stranger.get("/nothing")).status == 401
    for path in ("/status", "/healthz", "/nothing"):
        (await stranger.get(path)).fault(429, "rate_limited")
    assert (await api.get("/status")).status == 200
    assert (await api.get("/healthz")).status == 200


async def test_guessing_is_slower(start: Any) -> None:
    """After some wrong keys an address hears 429, while a valid key from there goes on."""
    api = await counting(start, requests=100)
    for number in range(3):
        assert (await api.using(NEVER).get("/status")).status == 401, number
    answer = await api.using(NEVER).get("/status")
    answer.fault(429, "rate_limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert (await api.using("x").get("/status")).status == 429
    assert (await api.using(None).get("/status")).status == 401  # no key is no guess
    assert (await api.get("/status")).status == 200


async def test_a_window_ends(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Afterwards the client is served again."""
    api = await counting(start, requests=1, rate_limit__period=60)
    assert [(await api.get("/status")).status for _ in range(2)] == [200, 429]
    later = time.monotonic() + 61
    monkeypatch.setattr(ratelimit.time, "monotonic", lambda: later)
    assert (await api.get("/status")).status == 200


async def test_zero_switches_it_off(start: Any) -> None:
    """[rate_limit] requests = 0: no limit, and the headers are there all the same."""
    api = await counting(start, requests=0)
    for _ in range(30):
        answer = await api.get("/status")
    assert answer.status == 200
    assert answer.headers["X-RateLimit-Limit"] == "0"


async def test_addresses_behind_a_proxy(start: Any) -> None:
    """Clients of a trusted proxy are counted one by one; nobody else may say who he is."""
    api = await counting(start, requests=2, server__trusted_proxies='["127.0.0.1"]')
    for client in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        for status in (401, 401, 429):
            answer = await api.using(None).get("/status", X_Forwarded_For=client)
            assert answer.status == status
    answer = await api.using(None).get("/status", X_Forwarded_For="2001:db8::ffff")
    assert answer.status == 429  # the same /64


async def test_a_made_up_address(start: Any) -> None:
    """X-Forwarded-For of a stranger frees nobody from his limit."""
    api = await counting(start, requests=2)
    statuses = [
        (await api.using(None).get("/status", X_Forwarded_For=f"192.0.2.{n}")).status
        for n in range(3)
    ]
    assert statuses == [401, 401, 429]


async def test_a_refused_request_does_nothing(start: Any) -> None:
    """429 comes before the change."""
    api = await counting(start, requests=1)
    await api.get("/status")
    before = api.everything()
    (await api.post("/keys", {"name": "x", "scope": "read"})).fault(429, "rate_limited")
    assert api.everything() == before
