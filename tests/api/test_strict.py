"""Bodies are taken strictly: types, unknown fields, null; nothing that was refused is repeated."""

from __future__ import annotations

import json
from typing import Any

import pytest
from restapi import ALIAS, DOMAIN, MAILBOX, Api

KEY = {"name": "x", "scope": "read", "domains": [], "allow_from": [], "expires": None}
BODIES: dict[str, dict[str, Any]] = {
    "/domains": DOMAIN | {"domain": "new.example"},
    "/mailboxes": MAILBOX | {"local_part": "new"},
    "/aliases": ALIAS | {"address": "other@example.com", "active": True, "description": ""},
    "/keys": KEY,
}
OBJECTS = {
    "/domains": "/domains/example.com",
    "/mailboxes": "/mailboxes/ann@example.com",
    "/aliases": "/aliases/1",
}
WRONG: dict[type, list[Any]] = {
    bool: [0, 1, "true", "1", "on", None, [], {}, 1.0],
    int: ["1", "", 1.5, 1.0, 1e3, True, False, None, [1], {}, -1, 2**63 - 1],
    str: [0, 1, True, None, {}, 1.5],
    list: ["", "x", 1, None, {}, [1], [None], [[]]],
}
CANARY = "canary-in-the-mine"


def wrong() -> list[tuple[str, str, Any]]:
    """Each field of each object with each value of another type."""
    return [
        (path, field, value)
        for path, body in BODIES.items()
        for field, good in body.items()
        if good is not None
        for value in WRONG[type(good)]
    ]


async def test_the_bodies_are_good(filled: Api) -> None:
    """As they stand they are taken, so what is refused below is refused for its one difference."""
    await filled.changed("/domains/example.com", {"quota": 10**6})
    for path, body in BODIES.items():
        body = body | ({"goto": "ann@example.com"} if path == "/aliases" else {})
        await filled.made(path, body)


@pytest.mark.parametrize(("path", "field", "value"), wrong())
async def test_types_are_strict(still: Api, path: str, field: str, value: Any) -> None:
    """400 that names the field, in POST and PUT alike; a string is no number, 1 no boolean."""
    answers = [await still.post(path, BODIES[path] | {field: value})]
    if path in OBJECTS:
        answers.append(await still.put(OBJECTS[path], {field: value}))
    for answer in answers:
        assert (answer.status, answer.json["code"]) == (400, "invalid"), answer.text
        assert field in [error["field"].split(".")[0] for error in answer.json["errors"]]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "field", ["quotta", "Active", " active", "", "generation", "a" * 5000, "x\ny", "ü", "__proto__"]
)
async def test_unknown_fields(still: Api, path: str, field: str) -> None:
    """A field that is none is refused; its name is repeated only if it looks like one."""
    answers = [await still.post(path, BODIES[path] | {field: 1})]
    if path in OBJECTS:
        answers.append(await still.put(OBJECTS[path], {field: 1}))
    for answer in answers:
        plain = field.isascii() and field.isidentifier() and len(field) <= 40
        answer.fault(400, "invalid", field if plain else "unknown field")
        assert plain or len(field) < 4 or field not in answer.text


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("body", [None, [], [{}], "", "x", 0, 1.5, True, [[]]])
async def test_a_body_is_an_object(still: Api, path: str, body: Any) -> None:
    """Any other JSON is refused, in POST and PUT alike."""
    assert (await still.post(path, body)).status == 400
    if path in OBJECTS:
        (await still.put(OBJECTS[path], body)).fault(400, "invalid")


@pytest.mark.parametrize("path", OBJECTS.values())
async def test_an_empty_put_changes_nothing(still: Api, path: str) -> None:
    """It is answered with the object as it is."""
    assert await still.changed(path, {}) == (await still.get(path)).json


async def test_all_fields_at_fault_are_told(still: Api) -> None:
    """Who sends three mistakes learns of three; the sentence is of the first."""
    answer = await still.post("/domains", DOMAIN | {"aliases": "1", "active": 1, "x": 0})
    msg = answer.fault(400, "invalid", "active", "aliases", "x")
    assert msg.startswith("active: ")


@pytest.mark.parametrize("path", BODIES)
async def test_nothing_is_repeated(still: Api, logged: list[Any], path: str) -> None:
    """A refused value stands in no answer and in no line of the log, wherever it was put."""
    for field in BODIES[path]:
        values = [[CANARY], {CANARY: CANARY}, CANARY * 200, f"{CANARY}\0", f"{CANARY}\n@\0"]
        for value in values:
            answers = [await still.post(path, BODIES[path] | {field: value})]
            if path in OBJECTS:
                answers.append(await still.put(OBJECTS[path], {field: value}))
            for answer in answers:
                assert answer.status == 400, answer.text
                assert CANARY not in answer.text
    assert CANARY not in repr(logged)


@pytest.mark.parametrize("where", ["path", "query", "header", "authorization", "method"])
async def test_nothing_of_the_head_is_repeated(still: Api, logged: list[Any], where: str) -> None:
    """Neither names in paths and queries nor headers come back or reach the log."""
    for path in ("/domains", "/mailboxes", "/aliases", "/keys", "/nothing", "/status"):
        answer = {
            "path": lambda p: still.get(f"{p}/{CANARY}"),
            "query": lambda p: still.get(f"{p}?{CANARY}={CANARY}&domain={CANARY}&q={CANARY}"),
            "header": lambda p: still.get(
                p, If_None_Match=CANARY, Prefer=CANARY, Accept=CANARY, X_Forwarded_For=CANARY
            ),
            "authorization": lambda p: still.get(p, Authorization=f"Bearer {CANARY}"),
            "method": lambda p: still.send(CANARY.upper(), p),
        }[where](path)
        found = await answer
        assert found.status < 500
        assert CANARY not in found.text.lower()
    assert CANARY not in repr(logged).lower()


async def test_a_key_reaches_no_log(filled: Api, logged: list[Any]) -> None:
    """Neither the key of a request nor one that was made is logged, and no password."""
    made = await filled.made("/keys", {"name": "x", "scope": "admin"})
    await filled.using(made["key"]).changed("/mailboxes/ann@example.com", {"password": CANARY})
    await filled.using(made["key"] + "x").get("/status")
    assert len([line for line in logged if line["event"] == "request"]) >= 2
    for secret in (made["key"], filled.secret, CANARY, "{BLF-CRYPT}"):
        assert secret not in repr(logged)


async def test_a_line_of_the_log(filled: Api, logged: list[Any]) -> None:
    """Each change has a line with its request's id, route, status and who sent it."""
    answer = await filled.put("/mailboxes/ann@example.com", {"active": True})
    (line,) = [line for line in logged if line["event"] == "request"]
    assert (line["route"], line["status"], line["who"]) == ("/api/v1/mailboxes/{key}", 200, "key:1")
    assert "ann@example.com" not in json.dumps(line)
    assert answer.headers["X-Request-Id"]
