"""Clients that leave, and a service that is told to stop while they work."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sqlite3
import struct
import threading
import time
from contextlib import closing
from typing import Any

import aiohttp
import pytest
import restapi
from bed import poll
from mishap import Fault
from process import Service

MB = 1 << 20


def prepare(service: Service, **environment: str) -> None:
    service.set(**environment)
    service.start()
    service.must("POST", "/domains", restapi.domain())


def names(service: Service) -> set[str]:
    return {row["email"] for row in service.state()["mailboxes"]}


def request(service: Service, body: Any, method: str = "POST") -> bytes:
    """The octets of a request to /mailboxes."""
    text = json.dumps(body).encode()
    head = (
        f"{method} /api/v1/mailboxes HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {service.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


def leave(client: socket.socket, at_once: bool) -> None:
    """Close the connection, with a reset if `at_once`."""
    if at_once:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.parametrize("at_once", [False, True])
def test_clients_that_leave_before_the_answer(service: Service, at_once: bool) -> None:
    """What they asked for happens, wholly, and the next client is served.

    A reset may overtake the request in the kernel, and then there was none.
    """
    prepare(service)
    for number in range(60):
        client = service.socket()
        client.sendall(request(service, restapi.mailbox(f"m{number}@example.com")))
        time.sleep(number % 20 / 5000)  # at any point of its way
        leave(client, at_once)
    wanted = {f"m{number}@example.com" for number in range(60)}
    poll(lambda: at_once or wanted == names(service), what="all changes are there")
    service.must("POST", "/mailboxes", restapi.mailbox("after@example.com"))
    service.agrees(2)


def test_clients_that_leave_amid_their_request(service: Service) -> None:
    """Half a body is no change."""
    prepare(service)
    for number in range(10):
        client = service.socket()
        whole = request(service, restapi.mailbox(f"m{number}@example.com"))
        client.sendall(whole[: len(whole) - 1 - number * 20])
        leave(client, at_once=number % 2 == 0)
    service.must("POST", "/mailboxes", restapi.mailbox("after@example.com"))
    assert names(service) == {"after@example.com"}
    service.agrees(2)


def test_a_client_that_leaves_while_its_change_becomes_live(service: Service) -> None:
    """A change whose client has gone while the files could not be written becomes live, too."""
    armed = service.root / "armed"
    service.start(fault=Fault("os:rename", armed, errno=5))
    service.must("POST", "/domains", restapi.domain())
    armed.touch()
    client = service.socket()
    client.sendall(request(service, restapi.mailbox("ann@example.com")))
    poll(lambda: names(service), what="the change is stored")
    leave(client, at_once=True)
    armed.unlink()
    service.agrees(5)


# ---------- SIGTERM ----------


async def create(session: aiohttp.ClientSession, number: int, done: set[str]) -> None:
    """Create mailboxes until the service refuses; `done` are those that were acknowledged."""
    count = 0
    while True:
        email = f"m{number}-{count}@example.com"
        try:
            async with session.post("mailboxes", json=restapi.mailbox(email)) as answer:
                assert answer.status in (201, 202, 503), await answer.text()
                if answer.status == 503:
                    assert int(answer.headers["Retry-After"]) > 0
                    return
        except (aiohttp.ClientError, OSError):
            return  # nobody listens any more
        done.add(email)
        count += 1


async def stopped_under_load(service: Service) -> None:
    """Stop the service while eight clients create mailboxes; what was acknowledged is stored."""
    done: set[str] = set()
    async with service.session() as session:
        tasks = [asyncio.create_task(create(session, number, done)) for number in range(8)]
        while len(done) < 50:
            await asyncio.sleep(0.01)
        begun = time.monotonic()
        assert await asyncio.to_thread(service.stop) == 0
        assert time.monotonic() - begun < 30
        await asyncio.gather(*tasks)
    assert done <= names(service), "an acknowledged change is lost"


async def test_stopping_under_load(service: Service) -> None:
    """Every acknowledged change is stored and in the files, and no answer is an error but 503."""
    prepare(service)
    await stopped_under_load(service)
    assert service.differences() == []
    assert "Traceback" not in service.said()
    service.start()
    service.agrees(2)


async def test_stopping_while_the_files_cannot_be_written(service: Service) -> None:
    """Nothing is lost either, and the next start makes it live."""
    service.start(fault=Fault("os:rename", service.root / "armed", errno=5))
    service.must("POST", "/domains", restapi.domain())
    (service.root / "armed").touch()
    await stopped_under_load(service)
    service.start()
    service.agrees(2)


def test_stopping_while_the_hook_hangs(service: Service) -> None:
    """A hook that does not end holds up the stop no longer than answers wait for it."""
    service.root.mkdir()
    script = service.root / "hook"
    script.write_text(f"#!/bin/sh\ntouch {service.root}/runs\nexec sleep 40\n")
    script.chmod(0o755)
    service.set(reload__command=json.dumps([str(script)]), postfix__map_type="texthash")
    service.start(fault=Fault(limits={"mailapi.rounds:LATE": 1.0}))
    answers: list[int] = []

    def ask() -> None:
        answers.append(service.ask("POST", "/domains", restapi.domain())[0])

    client = threading.Thread(target=ask)
    client.start()
    poll((service.root / "runs").exists, what="the hook runs")
    poll(lambda: service.state()["domains"], what="the change is stored")
    begun = time.monotonic()
    service.terminate()
    client.join()
    assert service.ended(30) == 0
    assert time.monotonic() - begun < 10
    assert answers == [202]
    assert [row["domain"] for row in service.state()["domains"]] == ["example.com"]


# ---------- lists ----------


@pytest.mark.parametrize("pinned", [False, True])
async def test_the_log_stays_small_under_lists_that_are_left(
    service: Service, pinned: bool
) -> None:
    """Clients that begin long lists and leave, or read no further, do not make the log grow.

    A read that stays open would (`pinned`): then nothing of the log can go into the database.
    """
    prepare(service)
    await asyncio.to_thread(add_many, service)
    other = sqlite3.connect(service.database, isolation_level=None)
    waiting = [begin_list(service) for _ in range(5)]
    stop = asyncio.Event()
    with closing(other), contextlib.ExitStack() as clients:
        for client in waiting:
            clients.callback(client.close)
        if pinned:
            other.execute("BEGIN")
            other.execute("SELECT * FROM state").fetchall()
        reader = asyncio.create_task(begin_lists(service, stop))
        await asyncio.to_thread(change_many, service)
        stop.set()
        assert await reader > 10, "hardly a list was begun"
        size = service.database.with_name("mailapi.db-wal").stat().st_size
    assert (size > 8 * MB) == pinned, f"{size / MB:.1f} MB"


def add_many(service: Service) -> None:
    """Three thousand mailboxes: lists of several pages."""
    for begin in range(0, 3000, 1000):
        bodies = [restapi.mailbox(f"m{n}@example.com") for n in range(begin, begin + 1000)]
        batch = [{"method": "POST", "path": "/mailboxes", "body": body} for body in bodies]
        assert service.ask("POST", "/batch", batch)[0] == 200


def change_many(service: Service) -> None:
    """Changes that write some 20 MB into the log."""
    for turn in range(30):
        batch = [
            {
                "method": "PUT",
                "path": f"/mailboxes/m{number}@example.com",
                "body": {"name": f"{turn} {'y' * 200}"},
            }
            for number in range(turn, 3000, 30)
        ]
        assert service.ask("POST", "/batch", batch)[0] == 200


def begin_list(service: Service) -> socket.socket:
    """A client that reads the first octets of a list, and no further."""
    client = service.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(request(service, None, "GET"))
    client.recv(100)
    return client


async def begin_lists(service: Service, stop: asyncio.Event) -> int:
    """Begin one list after the other and leave; how many."""
    begun = 0
    while not stop.is_set():
        reader, writer = await asyncio.open_connection(*service.socket_address())
        writer.write(request(service, None, "GET"))
        await reader.read(1000)
        writer.transport.abort()
        begun += 1
    return begun
