"""What no client library sends: octets on a socket that are not, or hardly, HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from typing import Any

import pytest
from restapi import ALIAS, BASE, Api, alias

CANARY = "mapi_canary"


def head(api: Api, line: str = f"GET {BASE}/aliases/1 HTTP/1.1", *headers: str) -> bytes:
    """The head of a request with a key; the connection is closed after the answer."""
    lines = [line, "Host: x", "Connection: close", f"Authorization: Bearer {api.secret}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def statuses(octets: bytes) -> list[int]:
    """The statuses of the answers."""
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3}) ", octets)]


async def test_a_plain_request(still: Api) -> None:
    """What the tests below vary is answered as it stands."""
    assert statuses(await still.raw(head(still))) == [200]


GARBAGE: dict[str, bytes] = {
    "random": bytes(range(256)),
    "TLS": bytes.fromhex("16030100a5010000a10303"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "SMTP": b"EHLO x\r\nMAIL FROM:<>\r\n",
    "no version": b"GET /\r\n\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "two blanks": b"GET  /  HTTP/1.1\r\n\r\n",
    "NUL in the line": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
    "bare CR": b"GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
    "blank in a name": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    "8-bit name": b"GET / HTTP/1.1\r\n\xff\xfe: x\r\n\r\n",
    "long line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
    "long name": b"GET / HTTP/1.1\r\n" + b"a" * 100_000 + b": b\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 50_000 + b"\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "length, chunks": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "negative length": b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "+1 length": b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\nx",
    "huge length": b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
    "word length": b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    "other coding": b"POST / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "asterisk": b"GET * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "absolute": b"GET http://[ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "CONNECT": b"CONNECT a.example:25 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "bad host": b"GET / HTTP/1.1\r\nHost: [::\r\nConnection: close\r\n\r\n",
    "bad port": b"GET http://x:999999/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "8-bit path": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "8-bit query": b"GET /?\xff=\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage(still: Api, name: str) -> None:
    """4xx and a closed connection, or a closed connection; and the next client is served."""
    try:
        octets = await still.raw(GARBAGE[name])
    except ConnectionError:
        octets = b""
    assert all(400 <= status < 500 for status in statuses(octets)), octets
    assert statuses(await still.raw(head(still))) == [200]


@pytest.mark.parametrize(
    "broken",
    [
        f"Authorization: Bearer {CANARY}\0",
        f"Authorization : Bearer {CANARY}",
        f"{CANARY}",
        f"\xff{CANARY}: x",
        f"Content-Length: {CANARY}",
        f"Transfer-Encoding: {CANARY}",
        f"A: {CANARY}" + "x" * 10_000,
    ],
)
async def test_nothing_of_garbage_is_repeated(
    still: Api, logged: list[Any], caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    """A head that cannot be read may hold a key: it is neither answered with nor logged."""
    caplog.set_level(logging.DEBUG)
    octets = await still.raw(head(still, f"POST {BASE}/aliases HTTP/1.1", broken))
    assert statuses(octets) == [400]
    assert octets.partition(b"\r\n\r\n")[2].startswith(b'{"type": "error"')
    assert b"X-Request-Id: " in octets
    for text in (octets.decode(), caplog.text, repr(logged)):
        assert CANARY not in text
        assert still.secret not in text


@pytest.mark.parametrize("target", ["?q=\xff", "/\xff@example.com", "?\xff=1", "?after=\xfe\xff"])
@pytest.mark.parametrize("resource", ["domains", "mailboxes", "changes"])
async def test_octets_that_are_no_utf_8(still: Api, resource: str, target: str) -> None:
    """Paths and queries with raw octets are looked at like any other, with a key."""
    octets = await still.raw(head(still, f"GET {BASE}/{resource}{target} HTTP/1.1"))
    assert statuses(octets)[0] in (200, 400, 404)


async def test_an_idempotency_key_with_such_a_query(still: Api) -> None:
    """A path that is no UTF-8 can be fingerprinted."""
    line = f"POST {BASE}/aliases?\xff\xfe HTTP/1.1"
    extra = ("Idempotency-Key: k", "Content-Type: application/json", "Content-Length: 2")
    assert statuses(await still.raw(head(still, line, *extra) + b"{}")) == [400]


async def test_pipelining(filled: Api) -> None:
    """Requests in one packet are done in their order, each with its answer."""
    body = json.dumps(alias("new@example.com", "o@b.example")).encode()
    sent = (f"Content-Length: {len(body)}", "Content-Type: application/json")
    keep = head(filled, f"POST {BASE}/aliases HTTP/1.1", *sent).replace(
        b"Connection: close\r\n", b""
    )
    get = head(filled, f"GET {BASE}/aliases/2 HTTP/1.1").replace(b"Connection: close\r\n", b"")
    last = head(filled, f"DELETE {BASE}/aliases/2 HTTP/1.1")
    octets = await filled.raw(keep + body + get + get + last)
    assert statuses(octets) == [201, 200, 200, 200]
    assert octets.count(b"X-Request-Id") == 4


async def test_a_smuggled_request(filled: Api) -> None:
    """What follows a body is a request of its own, with a key of its own."""
    sent = ("Content-Length: 2", "Content-Type: application/json")
    first = head(filled, f"PUT {BASE}/aliases/1 HTTP/1.1", *sent)
    first = first.replace(b"Connection: close\r\n", b"")
    second = f"DELETE {BASE}/aliases/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    assert statuses(await filled.raw(first + b"{}" + second)) == [200, 401]
    assert (await filled.get("/aliases/1")).status == 200


async def test_chunks(filled: Api) -> None:
    """A body may come in chunks, one octet at a time."""
    line = f"POST {BASE}/aliases HTTP/1.1"
    sent = ("Transfer-Encoding: chunked", "Content-Type: application/json")
    body = json.dumps(alias("new@example.com", "o@b.example")).encode()
    parts = [b"1\r\n%c\r\n" % octet for octet in body] + [b"0\r\n\r\n"]
    assert statuses(await filled.raw(head(filled, line, *sent), *parts)) == [201]


@pytest.mark.parametrize(
    "chunk",
    [
        b"x\r\n",
        b"-1\r\n",
        b"f" * 40 + b"\r\n",
        b"2\r\n{}x",
        b"2\r\n{}" + CANARY.encode() * 3,
        CANARY.encode() + b"\r\n",
    ],
)
async def test_broken_chunks(still: Api, caplog: pytest.LogCaptureFixture, chunk: bytes) -> None:
    """They are refused; nothing is done, and no piece of the body is logged or repeated."""
    caplog.set_level(logging.DEBUG)
    line = f"POST {BASE}/aliases HTTP/1.1"
    sent = ("Transfer-Encoding: chunked", "Content-Type: application/json")
    try:
        octets = await still.raw(head(still, line, *sent) + chunk)
    except ConnectionError:
        octets = b""
    assert all(status == 400 for status in statuses(octets)), octets
    assert CANARY not in octets.decode() + caplog.text


async def test_endless_chunks(still: Api) -> None:
    """A body that goes on and on is cut off at 8 MB."""
    line = f"POST {BASE}/aliases HTTP/1.1"
    sent = ("Transfer-Encoding: chunked", "Content-Type: application/json")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with contextlib.suppress(ConnectionError):
        octets = await still.raw(head(still, line, *sent), *[chunk] * 200, until=b"\r\n")
        assert statuses(octets) == [413]


@pytest.mark.parametrize(("value", "expected"), [("100-continue", [100, 400]), ("nonsense", [417])])
async def test_expect(still: Api, value: str, expected: list[int]) -> None:
    """100-continue is answered first; another expectation is refused."""
    line = f"POST {BASE}/aliases HTTP/1.1"
    sent = (f"Expect: {value}", "Content-Length: 2", "Content-Type: application/json")
    octets = await still.raw(head(still, line, *sent) + b"{}")
    assert statuses(octets) == expected
    assert b"X-Request-Id" in octets


async def test_http_1_0(still: Api) -> None:
    """Old clients are served, without Host and without chunks."""
    request = f"GET {BASE}/aliases/1 HTTP/1.0\r\nAuthorization: Bearer {still.secret}\r\n\r\n"
    octets = await still.raw(request.encode())
    assert statuses(octets) == [200]
    assert json.loads(octets.partition(b"\r\n\r\n")[2])["address"] == ALIAS["address"]


async def test_repeated_headers(still: Api) -> None:
    """Of two Content-Types none is guessed; other repeated headers are harmless."""
    line = f"PUT {BASE}/aliases/1 HTTP/1.1"
    sent = ["Content-Length: 2", "Content-Type: application/json", "Content-Type: text/plain"]
    assert statuses(await still.raw(head(still, line, *sent) + b"{}"))[0] in (200, 400, 415)
    extra = ["If-None-Match: *"] * 3 + ["Accept: x/y", "Accept: */*"] + ["X-Forwarded-For: ::"] * 9
    assert statuses(await still.raw(head(still, f"GET {BASE}/aliases/1 HTTP/1.1", *extra))) == [304]


async def test_many_idle_connections(still: Api) -> None:
    """A hundred clients that say nothing, or half a word, keep nobody out."""
    opened = []
    for number in range(100):
        _, writer = await asyncio.open_connection("127.0.0.1", still.port)
        writer.write(b"GET /api/v1/sta"[: number % 15])
        opened.append(writer)
    assert (await still.get("/status")).status == 200
    for writer in opened:
        writer.close()
        await writer.wait_closed()


async def test_a_slow_reader(filled: Api) -> None:
    """Who does not read his answers holds up nobody else."""
    reader, writer = await asyncio.open_connection("127.0.0.1", filled.port, limit=1)
    get = head(filled, f"GET {BASE}/mailboxes HTTP/1.1").replace(b"Connection: close\r\n", b"")
    writer.write(get * 2000)
    for _ in range(20):
        assert (await filled.get("/status")).status == 200
    assert reader
    writer.transport.abort()
