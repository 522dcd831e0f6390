"""The change log: who, when, by which request, what, before and after, without secrets."""

from __future__ import annotations

import re

from restapi import HASH, Api, alias, domain, mailbox


async def test_a_line(api: Api) -> None:
    """Each field of a line, and the object before and after as GET shows it."""
    first = await api.post("/domains", domain())
    before = (await api.get("/domains/example.com")).json
    second = await api.key(name="Ann's").put("/domains/example.com", {"description": "new"})
    after = (await api.get("/domains/example.com")).json
    update, key, add, _ = (await api.get("/changes")).json
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", update.pop("at"))
    assert update.pop("id") > key["id"] > add["id"]
    assert update == {
        "generation": 2,
        "who": "Ann's",
        "request_id": second.headers["X-Request-Id"],
        "action": "update",
        "object": "domain",
        "name": "example.com",
        "domain": "example.com",
        "before": before,
        "after": after,
    }
    assert (add["who"], add["request_id"]) == ("admin", first.headers["X-Request-Id"])
    assert (add["action"], add["before"], add["after"]) == ("add", None, before)
    assert (key["object"], key["who"]) == ("api_key", "local administrator")


async def test_every_change_has_its_line(filled: Api) -> None:
    """Added, updated and removed objects, also those that go with others."""
    await filled.changed("/mailboxes/ann@example.com", {"name": "Ann"})
    await filled.made("/aliases", alias("two@example.com", "ann@example.com,bob@example.com"))
    answer = await filled.delete("/mailboxes/ann@example.com")
    lines = [
        line
        for line in (await filled.get("/changes")).json
        if line["request_id"] == answer.headers["X-Request-Id"]
    ]
    assert {(line["action"], line["object"], line["name"]) for line in lines} == {
        ("remove", "mailbox", "ann@example.com"),
        ("remove", "alias", "info@example.com"),
        ("update", "alias", "two@example.com"),
    }
    assert {line["generation"] for line in lines} == {filled.generation()}
    update = next(line for line in lines if line["action"] == "update")
    assert update["before"]["goto"] == "ann@example.com,bob@example.com"
    assert update["after"]["goto"] == "bob@example.com"


async def test_no_secrets(filled: Api) -> None:
    """A new password is a change without a password, a new key one without the key."""
    await filled.changed("/mailboxes/ann@example.com", {"password": "canary-in-the-mine"})
    await filled.changed("/mailboxes/ann@example.com", {"password_hash": HASH})
    made = await filled.made("/keys", {"name": "x", "scope": "read"})
    answer = await filled.get("/changes")
    assert len([line for line in answer.json if line["action"] == "update"]) == 2
    for secret in ("canary", "password", "{BLF", HASH, made["key"], "digest"):
        assert secret not in answer.text


async def test_what_changes_nothing_has_no_line(filled: Api) -> None:
    """Refused requests and those that repeat what is there leave the log as it is."""
    before = (await filled.get("/changes")).headers["X-Total-Count"]
    await filled.put("/mailboxes/ann@example.com", {"active": True})
    await filled.post("/mailboxes", mailbox("ann@example.com"))
    await filled.put("/aliases/1", {"goto": "x"})
    assert (await filled.get("/changes")).headers["X-Total-Count"] == before


async def test_the_log_outlives_its_objects(filled: Api) -> None:
    """A removed domain's history is still there, under its name."""
    await filled.delete("/domains/example.com?cascade=true")
    names = [line["name"] for line in (await filled.get("/changes?domain=example.com")).json]
    assert names.count("example.com") == 2
    assert names.count("ann@example.com") == 2


async def test_the_log_is_read_only(still: Api) -> None:
    """Nobody changes it."""
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = await still.send(method, "/changes", {})
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD"
    assert (await still.delete("/changes/1")).status == 404
