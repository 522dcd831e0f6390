"""Hostile requests: never a 5xx, never a hang, and nothing changes."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import zlib
from typing import Any

import pytest
from restapi import BASE, MAILBOX, Api, domain

ROUTES = [("POST", "/domains"), ("POST", "/batch"), ("PUT", "/mailboxes/ann@example.com")]
BOMB = b" " * 50_000_000

BODIES: dict[str, bytes] = {
    "nothing": b"",
    "blank": b" \n",
    "deep arrays": b"[" * 200_000 + b"]" * 200_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep inside a field": b'{"name":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "5,000 digits": b'{"quota":' + b"9" * 5_000 + b"}",
    "over 2^63": b'{"quota":9223372036854775808}',
    "under -2^63": b'{"quota":-9223372036854775809}',
    "2^63-1": b'{"quota":9223372036854775807}',
    "1e400": b'{"quota":1e400}',
    "NaN": b'{"quota":NaN}',
    "-Infinity": b'{"quota":-Infinity}',
    "negative zero": b'{"quota":-0.0}',
    "lone surrogate": b'{"name":"\\ud800"}',
    "surrogate as a name": b'{"\\udfff":1}',
    "surrogate in UTF-8": b'{"name":"\xed\xa0\x80"}',
    "bad UTF-8": b'{"name":"\xff\xfe"}',
    "overlong UTF-8": b'{"name":"\xc0\xaf"}',
    "UTF-16": '{"name":"x"}'.encode("utf-16"),
    "UTF-32": '{"name":"x"}'.encode("utf-32"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "NUL": b'{"name":"\x00"}',
    "escaped NUL": b'{"name":"\\u0000"}',
    "names twice": b'{"name":"a","name":"b"}',
    "100,000 names": json.dumps({f"f{n}": n for n in range(100_000)}).encode(),
    "100,000 items": json.dumps([0] * 100_000).encode(),
    "1 MB string": json.dumps({"name": "x" * 2**20}).encode(),
    "1 MB name": json.dumps({"x" * 2**20: 1}).encode(),
    "73 bytes": json.dumps(MAILBOX | {"password": "x" * 73}).encode(),
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00",
    "form": b"domain=example.org&active=true",
    "XML": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]>',
    "trailing garbage": b"{}{}",
    "comment": b"{/**/}",
    "single quotes": b"{'name':'x'}",
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_bodies(still: Api, method: str, path: str, name: str) -> None:
    """Each is refused as the client's mistake, in the contract's shape."""
    answer = await still.send(method, path, data=io.BytesIO(BODIES[name]))
    assert answer.status in (400, 413), answer.text
    assert len(answer.raw) < 500_000
    assert set(answer.json) <= {"type", "msg", "code", "errors"}


@pytest.mark.parametrize(
    ("encoding", "squeeze"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_squeezed_bodies(
    still: Api, caplog: pytest.LogCaptureFixture, encoding: str, squeeze: Any
) -> None:
    """A body that unfolds to more than 8 MB is too large, one that does not unfold is malformed."""
    for data, statuses in ((squeeze(BOMB), {413, 400}), (b"no " + encoding.encode(), {400})):
        answer = await still.send(
            "POST", "/domains", data=io.BytesIO(data), headers={"Content-Encoding": encoding}
        )
        assert answer.status in statuses, answer.text
    assert "Traceback" not in caplog.text  # a client's mistake is none of ours


@pytest.mark.parametrize(
    "value",
    [
        "application/json; charset=utf-7",
        "application/json; charset=idna",
        "application/json; charset=rot13",
        "application/json; charset=" + "x" * 4000,
        "application/json" + ";" * 4000,
        "application/json; a=" + '"\\' * 2000,
        "application/json, application/json",
        "/",
        ";",
        "application/",
        "json",
        "\u00ff",
    ],
)
async def test_content_types(still: Api, value: str) -> None:
    """A media type that is none is 415; charsets are never looked up."""
    answer = await still.send("POST", "/domains", data=b"{}", headers={"Content-Type": value})
    assert answer.status in (400, 415)


PATHS = [
    "/%00",
    "/%0d%0aX:%20y",
    "/%ff%fe",
    "/%ed%a0%80@example.com",
    "/%",
    "/%zz",
    "/%u0041",
    "/..%2f..%2fetc%2fpasswd",
    "/%2e%2e/%2e%2e/status",
    "/ann@example.com/../bob@example.com",
    "/" + "a" * 7000,
    "/" + "%61" * 2000,
    "/'%20OR%20'1'='1",
    "/1;DROP%20TABLE%20domain",
    "/*",
    "/{key}",
    "/${jndi:ldap://x}",
    "/%e2%80%ae",
    "/xn--" + "a" * 60 + ".example",
    "/xn--0000000000.example",
    "/" + "%c3%bc" * 300 + ".example",
    "/" + "9" * 400,
    "/-1",
    "/0x1",
    "/1e3",
    "/1.0",
    "/%d9%a1",
    "/%31",
    "/" + "/" * 500,
    "/?" + "a=b&" * 1500,
    "/?%00=%00",
    "/?" + "%ff=%ff",
    "/?limit=%ff",
]


@pytest.mark.parametrize("path", PATHS)
async def test_paths(still: Api, path: str) -> None:
    """Names that are none are not found, whatever they hold, in all resources and methods."""
    for resource in ("/domains", "/mailboxes", "/aliases", "/keys"):
        if (resource, path) in (("/aliases", "/%31"), ("/keys", "/%31")):
            continue  # that is number 1, encoded
        for method, body in (("GET", None), ("PUT", b"{}"), ("DELETE", None), ("HEAD", None)):
            answer = await still.send(method, resource + path, data=body)
            assert answer.status in (400, 404, 405, 409), (method, resource, answer.status)


QUERIES = ["q=%ff", "q=%ed%a0%80", "q=%00", "domain=%ff.example", "after=%ff", "after=%00", "%ff=1"]
QUERIES += [
    "q=" + "%25" * 2000,
    "limit=" + "9" * 4000,
    "generation=" + "9" * 4000,
    "wait=1e9",
    "&&&",
]


@pytest.mark.parametrize("query", QUERIES)
async def test_queries(still: Api, query: str) -> None:
    """Lists and the status take or refuse any query."""
    for path in ("/domains", "/mailboxes", "/aliases", "/keys", "/changes", "/status"):
        assert (await still.get(f"{path}?{query}")).status in (200, 400)


HEADERS = [
    ("Authorization", "Bearer \u0430\u0431\u0432"),
    ("Authorization", "Bearer " + "\u00ff" * 54),
    ("If-Match", "\u00ff" * 100),
    ("If-None-Match", ",".join(['"x"'] * 1000)),
    ("Prefer", "respond-async" * 300),
    ("Prefer", ";;;,,,==="),
    ("Accept", "," * 4000),
    ("Accept", "*/*;q=x"),
    ("Accept-Encoding", "identity;q=0"),
    ("Range", "bytes=0-0"),
    ("X-Forwarded-For", "," * 4000),
    ("X-Forwarded-For", "::ffff:127.0.0.1%eth0"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("Upgrade", "websocket"),
    ("Upgrade", "h2c"),
    ("Cookie", "=;" * 2000),
    ("Idempotency-Key", "x" * 4000),
    ("Content-Encoding", "br"),
    ("Content-Encoding", "nonsense"),
]


@pytest.mark.parametrize(("name", "value"), HEADERS)
async def test_headers(still: Api, name: str, value: str) -> None:
    """Headers full of nonsense harm nobody."""
    for method, path, data in (
        ("GET", "/domains", None),
        ("GET", "/aliases/1", None),
        ("POST", "/domains", b"{}"),
        ("PUT", "/aliases/1", b'{"x":1}'),
    ):
        answer = await still.send(method, path, data=data, headers={name: value})
        assert answer.status < 500, (method, answer.status)


async def test_a_client_that_leaves(filled: Api, logged: list[Any]) -> None:
    """What was begun is finished, and no fault is logged."""
    body = json.dumps(domain("left.example")).encode()
    head = (
        f"POST {BASE}/domains HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {filled.secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", filled.port)
    writer.write(head + body)
    await writer.drain()
    writer.transport.abort()
    _, writer = await asyncio.open_connection("127.0.0.1", filled.port)
    writer.write(head + body[:10])
    await writer.drain()
    writer.transport.abort()
    async with asyncio.timeout(10):
        while (await filled.get("/domains/left.example")).status != 200:
            await asyncio.sleep(0.01)
    assert not [line for line in logged if line["log_level"] in ("error", "critical")], logged
