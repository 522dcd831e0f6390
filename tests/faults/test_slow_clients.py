"""Thousands of slow clients at once, in real time: all are hung up on, and a good one is served."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import restapi
from bed import poll
from mishap import Fault
from process import Service

EACH = 1000
LONGEST = 30.0  # seconds that a slow client may stay
HEAD = b"POST /api/v1/domains HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def kinds(key: str) -> dict[str, tuple[bytes, bytes]]:
    """What each kind of client sends at once, and then again and again, every second."""
    body = HEAD + f"Authorization: Bearer {key}\r\nContent-Length: 5000\r\n\r\n{{".encode()
    return {
        "says nothing": (b"", b""),
        "slow head": (HEAD, b"X: y\r\n"),
        "slow body": (body, b" "),
        "idle": (b"GET /api/v1/healthz HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    }


class Slow:
    """Clients of all kinds; `stayed` are the seconds for which each was connected, by kind."""

    def __init__(self, address: tuple[str, int], what: dict[str, tuple[bytes, bytes]]) -> None:
        self._address, self._what = address, what
        self._open: dict[int, tuple[socket.socket, str, float]] = {}
        self._poll = select.epoll()
        self.stayed: dict[str, list[float]] = {kind: [] for kind in what}

    def connect(self, count: int) -> None:
        """So many of each kind."""
        for _ in range(count):
            for kind, (at_once, _) in self._what.items():
                client = socket.create_connection(self._address, 20)
                client.sendall(at_once)
                self._open[client.fileno()] = (client, kind, time.monotonic())
                self._poll.register(client, select.EPOLLIN)
            self._look(0)

    def stay(self, seconds: float) -> None:
        """Until all are hung up on, or the time is up."""
        end, drip = time.monotonic() + seconds, time.monotonic()
        while self._open and time.monotonic() < end:
            if time.monotonic() > drip:
                drip += 1
                self._drip()
            self._look(0.05)

    def _drip(self) -> None:
        for client, kind, _ in self._open.values():
            with contextlib.suppress(OSError):
                client.send(self._what[kind][1])

    def _look(self, seconds: float) -> None:
        """Note who is hung up on; after a 408 the service reads on for a moment."""
        for number, _ in self._poll.poll(seconds):
            client, kind, since = self._open[number]
            with contextlib.suppress(OSError):
                if client.recv(4096):
                    continue
            self.stayed[kind].append(time.monotonic() - since)
            del self._open[number]
            client.close()

    def close(self) -> None:
        for client, _, _ in self._open.values():
            client.close()
        self._poll.close()


def measured(service: Service, work: Callable[[], None]) -> list[float]:
    """The seconds of each request of a good client while the work is done, in order of size."""
    done = threading.Event()
    taken: list[float] = []

    def ask() -> None:
        while not done.is_set():
            begin = time.monotonic()
            service.must("GET", "/domains/example.com")
            taken.append(time.monotonic() - begin)
            begin = time.monotonic()
            service.must("PUT", "/domains/example.com", {"description": str(begin)})
            taken.append(time.monotonic() - begin)
            service.hang_up()  # and come anew
            done.wait(0.01)

    client = threading.Thread(target=ask)
    client.start()
    try:
        work()
    finally:
        done.set()
        client.join()
    return sorted(taken)


@pytest.fixture
def files() -> Iterator[None]:
    """Leave to open that many sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * EACH + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this machine gives no leave to open {wanted} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.usefixtures("files")
def test_thousands_of_slow_clients(service: Service) -> None:
    """Of four thousand, none stays longer than 30 s, and a good client hardly notices them."""
    service.start()
    service.must("POST", "/domains", restapi.domain())
    alone = measured(service, lambda: time.sleep(2))
    slow = Slow(service.socket_address(), kinds(service.key))

    def work() -> None:
        begin = time.monotonic()
        slow.connect(EACH)
        assert not any(slow.stayed.values()), "the first had gone when the last came"
        print(f"connected in {time.monotonic() - begin:.1f} s")
        slow.stay(LONGEST + 10)

    beside = measured(service, work)
    slow.close()
    usual, worst = alone[len(alone) * 99 // 100], beside[len(beside) * 99 // 100]
    print(f"p99 alone {usual * 1000:.1f} ms, beside {worst * 1000:.1f} ms of {len(beside)}")
    for kind, seconds in slow.stayed.items():
        print(f"{kind}: {len(seconds)}, at most {max(seconds, default=0):.1f} s")
        assert len(seconds) == EACH, kind
        assert max(seconds) < LONGEST, kind
    assert worst < max(0.25, 10 * usual)


def sockets(service: Service) -> int:
    """How many the process has open."""
    count = 0
    for file in Path(f"/proc/{service.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(file.readlink()).startswith("socket:")
    return count


def test_a_client_that_does_not_read(service: Service) -> None:
    """Who asks for a long list and takes none of it is cut off."""
    service.start(fault=Fault(limits={"mailapi.api.connections:STALLED": 0.5}))
    before = sockets(service)
    service.must("POST", "/domains", restapi.domain(aliases=3000))
    for turn in range(6):
        names = [f"a{turn}-{number}@example.com" for number in range(500)]
        bodies = [restapi.alias(name, "x@far.example", description="x" * 1000) for name in names]
        batch = [{"method": "POST", "path": "/aliases", "body": body} for body in bodies]
        service.must("POST", "/batch", batch)
    service.hang_up()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(service.socket_address())
    head = f"GET /api/v1/aliases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.key}\r\n\r\n"
    client.sendall(head.encode())
    assert client.recv(1), "an answer begins"
    poll(lambda: sockets(service) == before, 5, "the end of the connection")
    client.close()
    assert "Traceback" not in service.said()
