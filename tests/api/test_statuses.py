"""The table of statuses: 404 to 507, each with its code and headers, and nothing stored."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from aiohttp import web
from restapi import BASE, Api, alias, domain, mailbox

from mailapi import errors, service
from mailapi.api import answers, writes
from mailapi.api.middleware import METHODS

HEADERS = ("X-Request-Id", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


def walk(api: Api) -> dict[str, set[str]]:
    """The methods of each registered path."""
    found: dict[str, set[str]] = {}
    for route in api.app.router.routes():
        found.setdefault(route.resource.canonical.replace("{key}", "1"), set()).add(route.method)
    return found


async def test_other_methods_get_405(still: Api) -> None:
    """On each route, with Allow naming those that it takes."""
    for path, methods in walk(still).items():
        for method in {*METHODS, "TRACE", "PROPFIND"} - methods:
            if "*" in methods:
                continue
            answer = await still.send(method, path)
            assert answer.status == 405, (method, path)
            assert set(answer.headers["Allow"].split(", ")) == methods
            if method != "HEAD":
                answer.fault(405, "method_not_allowed")


@pytest.mark.parametrize("path", ["", "/", "/nothing", "/domains/", "/domains/a/b", "/Domains"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_no_such_route(still: Api, method: str, path: str) -> None:
    """404 in the contract's shape."""
    (await still.send(method, path)).fault(404, "not_found")


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("", 200),
        ("*/*", 200),
        ("application/json", 200),
        ("Application/JSON", 200),
        ("application/*;q=0.5", 200),
        ("text/html,application/xhtml+xml,*/*;q=0.8", 200),
        ("text/csv, application/json;q=0.1", 200),
        ("application/xml", 406),
        ("image/png, application/pdf", 406),
        ("nonsense", 406),
    ],
)
async def test_accept(still: Api, accept: str, status: int) -> None:
    """406 for who takes no JSON."""
    answer = await still.get("/domains", Accept=accept)
    assert answer.status == status
    if status == 406:
        answer.fault(406, "not_acceptable")


@pytest.mark.parametrize("path", ["/domains", "/batch", "/keys"])
async def test_too_large(still: Api, path: str) -> None:
    """A body of more than 8 MB."""
    (await still.send("POST", path, data=io.BytesIO(b" " * (8 * 2**20 + 1)))).fault(
        413, "too_large"
    )


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "",
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/domains"), ("PUT", "/aliases/1")])
async def test_other_media_types(still: Api, method: str, path: str, content_type: str) -> None:
    """415 for a body that says it is no JSON, or in another charset."""
    answer = await still.send(method, path, data=b"{}", headers={"Content-Type": content_type})
    answer.fault(415, "unsupported_media_type")


@pytest.mark.parametrize("body", [b"", b"{", b"{}x", b'{"a":1,"a":2}', b"\xff", b"[" * 99_999])
async def test_malformed(still: Api, body: bytes) -> None:
    """400 with a code of its own for what is no JSON."""
    for path in ("/domains", "/mailboxes", "/aliases", "/keys", "/batch"):
        (await still.send("POST", path, data=body)).fault(400, "malformed_json")
    (await still.send("PUT", "/aliases/1", data=body)).fault(400, "malformed_json")


async def test_every_answer_has_its_headers(filled: Api) -> None:
    """A number of its own, and what is left of the limit, on good and bad answers alike."""
    numbers = set()
    for answer in (
        await filled.get("/domains"),
        await filled.get("/domains?limit=1"),
        await filled.head("/aliases/1"),
        await filled.get("/healthz"),
        await filled.get("/metrics"),
        await filled.get("/nothing"),
        await filled.post("/domains", {}),
        await filled.post("/domains", domain("example.org")),
        await filled.put("/domains", {}),
        await filled.delete("/aliases/1"),
        await filled.using(None).get("/domains"),
        await filled.get("/domains", Accept="x/y"),
        await filled.get("/domains", If_None_Match="*"),
    ):
        for name in HEADERS:
            assert name in answer.headers
        numbers.add(answer.headers["X-Request-Id"])
    assert len(numbers) == 13


# ---------- faults of ours ----------


class Odd(Exception):
    """Not one of ours; its text must not get out."""


ODD = "canary /var/lib/mailapi/mailapi.db"


@pytest.mark.parametrize(
    "failing",
    [
        Odd(ODD),
        KeyError(ODD),
        RecursionError(ODD),
        TimeoutError(ODD),
        UnicodeEncodeError("utf-8", ODD, 0, 1, ODD),
        errors.Unrenderable(ODD),
        errors.StateError(ODD),
        web.HTTPBadGateway(text=ODD),
    ],
)
async def test_a_fault_of_ours(start: Any, logged: list[Any], failing: Exception) -> None:
    """500 that says nothing but where to look; the log has it under the request's number."""

    async def fails(_: web.Request) -> web.StreamResponse:
        raise failing

    api = await start(extend=lambda app: app.router.add_get(f"{BASE}/fails", fails))
    answer = await api.get("/fails")
    answer.fault(500, "internal")
    assert "canary" not in answer.text
    assert any(line["log_level"] == "error" for line in logged) or isinstance(
        failing, web.HTTPException
    )


async def test_a_rule_that_fails_stores_nothing(
    filled: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it did before is rolled back, and the next change works."""
    original = service.aliases.targets.check_reach

    def failing(*_: Any) -> None:
        raise Odd(ODD)

    before = filled.everything()
    monkeypatch.setattr(service.aliases.targets, "check_reach", failing)
    answer = await filled.post("/aliases", alias("new@example.com", "o@b.example"))
    answer.fault(500, "internal")
    monkeypatch.setattr(service.aliases.targets, "check_reach", original)
    assert filled.everything() == before
    await filled.made("/aliases", alias("new@example.com", "o@b.example"))


async def test_only_the_one_that_fails(filled: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes in the same transaction as one that fails are done all the same."""
    original = service.aliases.targets.check_reach

    def failing(txn: Any, address: str) -> None:
        if address.startswith("bad"):
            raise Odd(ODD)
        original(txn, address)

    monkeypatch.setattr(service.aliases.targets, "check_reach", failing)
    names = ["a", "bad1", "b", "bad2", "c"]
    results = await asyncio.gather(
        *(filled.post("/aliases", alias(f"{name}@example.com", "o@b.example")) for name in names)
    )
    assert [result.status for result in results] == [201, 500, 201, 500, 201]


async def test_a_full_disk(filled: Api) -> None:
    """507 and nothing stored; with room again it works."""
    connection = filled.context.writer._db
    ((pages,),) = filled.rows("PRAGMA page_count")
    before = filled.everything()
    await connection.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall())
    items = [
        {"method": "POST", "path": "/mailboxes", "body": mailbox(f"m{n}@example.com")}
        for n in range(200)
    ]
    answer = await filled.post("/batch", items)
    answer.fault(507, "disk_full")
    assert filled.everything() == before
    await connection.run(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchall())
    assert (await filled.post("/batch", items)).status == 200


async def test_shutting_down(filled: Api) -> None:
    """503 with Retry-After once the writer is closing."""
    filled.context.writer._closing = True
    answer = await filled.post("/aliases", alias("new@example.com", "o@b.example"))
    answer.fault(503, "shutting_down")
    assert int(answer.headers["Retry-After"]) > 0
    assert (await filled.get("/aliases")).status == 200


async def test_a_slow_body(still: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """408 for a body that does not come; the request is over."""
    monkeypatch.setattr(writes, "BODY_LIMIT", 0.1)
    head = (
        f"POST {BASE}/domains HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 99\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {still.secret}\r\n\r\n{{"
    )
    assert b" 408 " in await still.raw(head.encode(), until=b"\r\n")


def test_every_refusal_has_a_status() -> None:
    """No exception that a client causes is answered with 500; codes belong to one status each."""
    pending, refused = [errors.Refused, errors.Unavailable], set[type[errors.MailapiError]]()
    while pending:
        kind = pending.pop()
        refused.add(kind)
        pending += kind.__subclasses__()
    by_code: dict[str, set[int]] = {}
    for kind in refused - {errors.Refused, errors.Unavailable}:
        status = answers.status_of(kind())
        assert status in answers.STATUS.values(), kind
        by_code.setdefault(kind.code, set()).add(status)
    assert all(len(statuses) == 1 for statuses in by_code.values())
