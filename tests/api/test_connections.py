"""Clients that are slow, idle or many: each is cut off in time, and the others are served."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from restapi import BASE, Api, alias, domain

from mailapi import app, config, local
from mailapi.api import connections, writes

GET = f"GET {BASE}/healthz HTTP/1.1\r\nHost: x\r\n\r\n".encode()
HEAD = f"POST {BASE}/domains HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[..., Awaitable["Served"]]


def small_buffers(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
    """A socket to listen on; the kernel keeps little of the answers for its clients."""
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listening.bind((host, port))
    return listening


class LimitedServer(TestServer):
    """The service as `serve` runs it."""

    most = 100

    async def _make_runner(self, **_: Any) -> web.AppRunner:
        return connections.Runner(self.app, self.most, shutdown_timeout=1)


class Served(Api):
    """With clients that behave badly."""

    @property
    def count(self) -> int:
        """The connections that are open."""
        return int(self._client.server.runner.server.count)  # type: ignore[union-attr]  # ours

    async def connect(self, octets: bytes = b"") -> Streams:
        """Its buffers are small, so that little of an answer fits into them."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=client, limit=1)
        writer.write(octets)
        return reader, writer

    async def healthy(self) -> bool:
        """Whether a new client is served."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            return b" 200 " in await self.raw(GET, until=b"\r\n\r\n", seconds=5)
        return False


@pytest.fixture
async def serve(
    tmp_path: Path, aiohttp_client: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Serve]:
    """Start a service with short limits; `most` are its connections."""
    monkeypatch.setenv("MAILAPI_RATE_LIMIT__REQUESTS", "0")
    opened: list[asyncio.StreamWriter] = []

    async def serving(most: int = 100, **seconds: float) -> Served:
        for name in ("IDLE", "LINGER", "STALLED"):
            monkeypatch.setattr(connections, name, seconds.get(name.lower(), 0.2))
        monkeypatch.setattr(writes, "BODY_LIMIT", seconds.get("body", 0.2))
        wished = config.dev(tmp_path)
        key = local.add_key(wished, {"name": "admin", "scope": "admin"})
        server = LimitedServer(app.create(wished), socket_factory=small_buffers)
        server.most = most
        return Served(await aiohttp_client(server), key, wished)

    yield serving
    for writer in opened:
        writer.close()


async def closed(streams: Streams, seconds: float = 5) -> bytes:
    """What the service says before it hangs up; TimeoutError if it does not."""
    reader, writer = streams
    said = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(seconds):
            while part := await reader.read(65536):
                said += part
    writer.close()
    return said


async def drip(writer: asyncio.StreamWriter, octets: bytes, pause: float = 0.02) -> None:
    """Send one octet after the other, until nobody takes them."""
    with contextlib.suppress(OSError):
        for octet in octets:
            writer.write(bytes([octet]))
            await writer.drain()
            await asyncio.sleep(pause)


def slow(key: str) -> dict[str, tuple[bytes, bytes]]:
    """Kinds of slow clients: what is sent at once, and what octet by octet."""
    authorized = f"{HEAD}Authorization: Bearer {key}\r\n"
    body = f"{authorized}Content-Length: 5000\r\n\r\n{{".encode()
    chunks = f"{authorized}Transfer-Encoding: chunked\r\n\r\n".encode()
    return {
        "says nothing": (b"", b""),
        "half a line": (b"GET /api", b""),
        "half a head": (HEAD.encode(), b""),
        "head, octet by octet": (b"", HEAD.encode() + b"X: " + b"x" * 5000),
        "header after header": (HEAD.encode(), b"X: y\r\n" * 500),
        "idle": (GET, b""),
        "idle, then half a head": (GET + HEAD.encode(), b""),
        "half a body": (body, b""),
        "body, octet by octet": (body, b"x" * 5000),
        "chunk after chunk": (chunks, b"1\r\nx\r\n" * 500),
        "body without a key": ((HEAD + "Content-Length: 5000\r\n\r\n").encode(), b"x" * 5000),
        "body that nobody reads": (GET[:-2] + b"Content-Length: 5000\r\n\r\n", b"x" * 5000),
        "form, octet by octet": (
            b"POST /password HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\n",
            b"x" * 5000,
        ),
    }


TOLD = ("half a body", "body, octet by octet", "chunk after chunk", "form, octet by octet")


@pytest.mark.parametrize("kind", slow(""))
async def test_slow_clients(serve: Serve, kind: str) -> None:
    """Whoever sends too slowly, or nothing more, is hung up on."""
    api = await serve()
    at_once, slowly = slow(api.secret)[kind]
    reader, writer = await api.connect(at_once)
    dripping = asyncio.create_task(drip(writer, slowly))
    said = await closed((reader, writer))
    assert (b" 408 " in said) == (kind in TOLD)
    dripping.cancel()
    assert api.count == 0


async def test_patient_limits_let_slow_clients_through(serve: Serve) -> None:
    """Who is slow, but done in time, is served; an idle connection serves again."""
    api = await serve(idle=10, body=10)
    text = json.dumps(domain("slow.example"))
    head = f"{HEAD}Authorization: Bearer {api.secret}\r\nContent-Length: {len(text)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    await drip(writer, (head + text).encode(), 0.001)
    assert b" 201 " in await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def long_list(api: Api, length: int) -> bytes:
    """Make a list of so many kilobytes or more; the request for it."""
    await api.made("/domains", domain(aliases=length))
    for first in range(0, length, 500):
        names = [f"a{number}@example.com" for number in range(first, min(first + 500, length))]
        bodies = [alias(name, "x@far.example", description="x" * 1000) for name in names]
        batch = [{"method": "POST", "path": "/aliases", "body": body} for body in bodies]
        assert (await api.post("/batch", batch)).status == 200
    head = f"GET {BASE}/aliases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.secret}\r\n\r\n"
    return head.encode()


async def open_but(api: Served, count: int) -> None:
    """Wait until so many connections are left."""
    async with asyncio.timeout(5):
        while api.count > count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("length", [40, 2500])
async def test_clients_that_do_not_read(
    serve: Serve, logged: list[Any], length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for a list and does not take it is cut off, without a fault in the log."""
    api = await serve(idle=20, stalled=20)
    get = await long_list(api, length)
    monkeypatch.setattr(connections, "STALLED", 0.2)
    before = api.count
    clients = [await api.connect(get * number) for number in (1, 1, 10)]
    async with asyncio.timeout(5):
        while api.count < before + 3:
            await asyncio.sleep(0.01)
    await open_but(api, before)
    assert not [line for line in logged if line["log_level"] in ("error", "critical")]
    for _, writer in clients:
        writer.close()


async def test_clients_that_read_slowly_get_it_all(serve: Serve) -> None:
    """Who takes a piece now and then, before the limit, gets the whole list."""
    api = await serve(stalled=20)
    get = await long_list(api, 2500)
    reader, writer = await api.connect(get.replace(b"Host: x", b"Host: x\r\nConnection: close"))
    said = b""
    while part := await reader.read(65536):
        said += part
        await asyncio.sleep(0.001)
    assert said.endswith(b"]\r\n0\r\n\r\n")
    writer.close()


async def test_too_many_clients(serve: Serve, logged: list[Any]) -> None:
    """Connections beyond the most are closed at once; when one leaves, the next is served."""
    api = await serve(most=5, idle=30)
    clients = [await api.connect(GET) for _ in range(5)]
    for reader, _ in clients:
        await reader.readexactly(1)
    for _ in range(20):
        assert not await api.healthy()
    assert api.count == 5
    said = [line for line in logged if line["event"].startswith("too many connections")]
    assert len(said) == 1
    clients.pop()[1].close()
    await open_but(api, 4)
    assert await api.healthy()
    for _, writer in clients:
        writer.close()


def test_open_files() -> None:
    """The limit of open files is raised, no higher than is permitted, and leaves a reserve."""
    code = (
        "import resource as r\n"
        "r.setrlimit(r.RLIMIT_NOFILE, ({0}, {1}))\n"
        "from mailapi.api.connections import most_connections as most\n"
        "print(most(), *r.getrlimit(r.RLIMIT_NOFILE))"
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits, wanted in (((64, 512), "384 512 512"), ((600, 600), "472 600 600")):
        command = [sys.executable, "-c", code.format(*limits)]
        assert subprocess.check_output(command, text=True).strip() == wanted
    if hard == resource.RLIM_INFINITY or hard >= 8192:
        command = [sys.executable, "-c", code.format(64, hard)]
        assert subprocess.check_output(command, text=True).strip() == f"8064 8192 {hard}"
