"""Idempotency-Key: a POST that is sent again does not do its work again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from restapi import Api, alias, canaries, domain, mailbox

from mailapi import batch


async def test_a_replay(filled: Api) -> None:
    """The same answer as before, and nothing is done twice, even if it could not be done now."""
    body = alias("new@example.com", "out@example.net")
    first = await filled.post("/aliases", body, Idempotency_Key="k1")
    before = filled.everything()
    again = await filled.post("/aliases", body, Idempotency_Key="k1")
    assert (again.status, again.json) == (first.status, first.json) == (201, first.json)
    assert again.headers["Location"] == first.headers["Location"]
    assert filled.everything() == before
    (await filled.post("/aliases", body)).fault(409, "exists")
    await filled.delete(f"/aliases/{first.json['id']}")
    assert (await filled.post("/aliases", body, Idempotency_Key="k1")).json == first.json
    assert len((await filled.get("/aliases")).json) == 1


@pytest.mark.parametrize("path", ["/aliases", "/mailboxes", "/batch", "/aliases?cascade=true"])
async def test_another_request(filled: Api, path: str) -> None:
    """422 for another body or another path under the same key."""
    body = alias("new@example.com", "out@example.net")
    assert (await filled.post("/aliases", body, Idempotency_Key="k")).status == 201
    before = filled.everything()
    other: Any = {
        "/aliases": body | {"active": False},
        "/mailboxes": mailbox("c@example.com"),
        "/batch": [{"method": "POST", "path": "/aliases", "body": body}],
    }.get(path, body)
    answer = await filled.post(path, other, Idempotency_Key="k")
    if "?" in path:
        assert answer.status == 400
    else:
        found = answer.json[0] if path == "/batch" else answer.json
        assert (answer.status, found["code"]) == (422, "idempotency_mismatch")
    assert filled.everything() == before


async def test_many_at_once(api: Api) -> None:
    """Twenty of the same at the same time make one object, and each hears of it."""
    await api.made("/domains", domain())
    body = mailbox("new@example.com", password="long enough")
    answers = await asyncio.gather(
        *(api.post("/mailboxes", body, Idempotency_Key="k") for _ in range(20))
    )
    assert {answer.status for answer in answers} == {201}
    assert len({answer.raw for answer in answers}) == 1
    assert answers[0].headers["X-Request-Id"] != answers[1].headers["X-Request-Id"]
    assert api.generation() == 2


async def test_it_belongs_to_the_key(filled: Api) -> None:
    """Two clients may choose the same Idempotency-Key, and see nothing of each other's."""
    body = alias("new@example.com", "out@example.net")
    assert (await filled.post("/aliases", body, Idempotency_Key="k")).status == 201
    answer = await filled.key().post("/aliases", body, Idempotency_Key="k")
    answer.fault(409, "exists")


async def test_a_refused_request_may_be_mended(filled: Api) -> None:
    """What was refused stored nothing: the key may be used again with a better body."""
    answer = await filled.post("/aliases", alias("new@example.com", "x"), Idempotency_Key="k")
    assert answer.status == 400
    body = alias("new@example.com", "out@example.net")
    assert (await filled.post("/aliases", body, Idempotency_Key="k")).status == 201


async def test_a_batch(filled: Api) -> None:
    """A batch is replayed whole."""
    items = [
        {"method": "POST", "path": "/aliases", "body": alias("x@example.com", "o@example.net")},
        {"method": "DELETE", "path": "/aliases/1"},
    ]
    first = await filled.post("/batch", items, Idempotency_Key="k")
    before = filled.everything()
    again = await filled.post("/batch", items, Idempotency_Key="k")
    assert (again.status, again.json) == (200, first.json)
    assert filled.everything() == before


async def test_a_day(filled: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 hours it is remembered, and then no longer."""
    body = alias("new@example.com", "out@example.net")
    assert (await filled.post("/aliases", body, Idempotency_Key="k")).status == 201
    now = batch.time.time()
    monkeypatch.setattr(batch.time, "time", lambda: now + 86_390)
    assert (await filled.post("/aliases", body, Idempotency_Key="k")).status == 201
    monkeypatch.setattr(batch.time, "time", lambda: now + 86_410)
    (await filled.post("/aliases", body, Idempotency_Key="k")).fault(409, "exists")
    await filled.made("/aliases", alias("other@example.com", "out@example.net"))
    answer = await filled.post(
        "/aliases", alias("third@example.com", "o@example.net"), Idempotency_Key="j"
    )
    assert answer.status == 201
    assert filled.rows("SELECT key FROM idempotency") == [("j",)]


async def test_put_does_not_need_it(filled: Api) -> None:
    """PUT and DELETE are safe to repeat by themselves; the header is no reason to refuse them."""
    for description in ("one", "two"):
        answer = await filled.put("/aliases/1", {"description": description}, Idempotency_Key="k")
        assert answer.json["data"]["description"] == description


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ü", "a\tb"])
async def test_keys_refused(still: Api, key: str) -> None:
    """1 to 255 printable ASCII characters."""
    answer = await still.post(
        "/aliases", alias("n@example.com", "o@b.example"), Idempotency_Key=key
    )
    answer.fault(400, "invalid")


@pytest.mark.parametrize("key", ["x" * 255, '"quoted"', "';--", "8e03978e-40d5-43dd-bc93-6894a57f"])
async def test_keys_taken(filled: Api, key: str) -> None:
    """Whatever a client chooses within that."""
    for _ in range(2):
        answer = await filled.post(
            "/aliases", alias("n@example.com", "o@b.example"), Idempotency_Key=key
        )
        assert answer.status == 201


async def test_no_secret_is_kept(filled: Api) -> None:
    """Neither the password of a request nor the key of an answer is stored for the replay."""
    secret = "canary-in-the-mine"
    body = mailbox("new@example.com", password=secret)
    await filled.post("/mailboxes", body, Idempotency_Key="k1")
    made = await filled.post("/keys", {"name": "x", "scope": "read"}, Idempotency_Key="k2")
    again = await filled.post("/keys", {"name": "x", "scope": "read"}, Idempotency_Key="k2")
    assert (again.status, again.json["id"]) == (201, made.json["id"])
    assert "key" not in again.json
    root = filled.config.state.directory.parent
    assert canaries(root, secret, made.json["key"], filled.secret) == []
