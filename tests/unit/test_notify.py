"""sd_notify, the watchdog and socket activation, as systemd would see them."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailapi import notify
from mailapi.errors import ConfigError

SERVE = """
import os, sys
given = int(sys.argv[1])
if given >= 0:
    os.dup2(given, 3)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "mailapi", "serve", "--dev", sys.argv[2]])
"""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which systemd listens; nothing else of it is in the environment."""
    for name in ("LISTEN_PID", "LISTEN_FDS", "WATCHDOG_PID", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield ear


def said(ear: socket.socket) -> str:
    return ear.recv(100).decode()


def silent(ear: socket.socket) -> bool:
    ear.setblocking(False)
    try:
        return not ear.recv(100)
    except BlockingIOError:
        return True
    finally:
        ear.settimeout(20)


async def hears(ear: socket.socket) -> str:
    """The next message, while the event loop of this test goes on."""
    return (await asyncio.to_thread(ear.recv, 100)).decode()


async def test_ready_and_stopping(systemd: socket.socket) -> None:
    """READY=1 comes when the block begins, STOPPING=1 when it ends; unwatched, nothing between."""
    async with notify.ready(lambda: True):
        assert said(systemd) == "READY=1"
        await asyncio.sleep(0)
    assert said(systemd) == "STOPPING=1"
    assert silent(systemd)


async def test_the_watchdog_is_told_in_time(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the service is alive WATCHDOG=1 comes again and again; when it is not, no more."""
    monkeypatch.setenv("WATCHDOG_USEC", "150000")
    asked, alive = asyncio.Event(), True

    def check() -> bool:
        asked.set()
        return alive

    async with notify.ready(check):
        assert [await hears(systemd) for _ in range(4)] == ["READY=1", *["WATCHDOG=1"] * 3]
        alive = False
        asked.clear()
        await asyncio.wait_for(asked.wait(), 20)  # what was sent before is on its way
        while not silent(systemd):
            pass
        asked.clear()
        await asyncio.wait_for(asked.wait(), 20)
        assert silent(systemd)


async def test_the_watchdog_of_another_process(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WATCHDOG_PID names who is watched; if that is another, nothing is sent."""
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getppid()))
    async with notify.ready(lambda: True):
        await asyncio.sleep(0.05)
    assert [said(systemd), said(systemd)] == ["READY=1", "STOPPING=1"]


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with @ in front is in the abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0mailapi-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@mailapi-test-{os.getpid()}")
        notify.notify("READY=1")
        ear.settimeout(20)
        assert said(ear) == "READY=1"


@pytest.mark.parametrize("where", ["", "relative", "/nonexistent/notify"])
def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Without systemd, or with one that has gone, nothing happens."""
    monkeypatch.setenv("NOTIFY_SOCKET", where)
    notify.notify("READY=1")


def test_no_socket_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """None without LISTEN_PID or with another's; several sockets are a ConfigError."""
    monkeypatch.delenv("LISTEN_PID", raising=False)
    monkeypatch.setenv("LISTEN_FDS", "2")
    assert notify.listening() is None
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    assert notify.listening() is None
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    with pytest.raises(ConfigError):
        notify.listening()


@pytest.mark.parametrize("family", [None, socket.AF_INET, socket.AF_UNIX])
def test_the_service_speaks_to_systemd(
    systemd: socket.socket, tmp_path: Path, family: socket.AddressFamily | None
) -> None:
    """`serve` is READY only when it answers, on the socket that it was given; and tells its end."""
    listener = socket.socket(family or socket.AF_UNIX)
    listener.bind(("127.0.0.1", 0) if family is socket.AF_INET else str(tmp_path / "http"))
    listener.listen()
    given = listener.fileno() if family else -1
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(given), str(tmp_path / "var")],
        env=os.environ | {"WATCHDOG_USEC": "300000", "MAILAPI_SERVER__PORT": "0"},
        pass_fds=[given] if family else [],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        systemd.settimeout(60)
        assert [said(systemd), said(systemd)] == ["READY=1", "WATCHDOG=1"]
        if family:
            assert healthz(listener) == 200
        process.send_signal(signal.SIGTERM)
        while (word := said(systemd)) == "WATCHDOG=1":
            pass
        assert word == "STOPPING=1"
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        listener.close()


def healthz(listener: socket.socket) -> int:
    connection = http.client.HTTPConnection("localhost", timeout=20)
    connection.sock = socket.socket(listener.family)
    connection.sock.connect(listener.getsockname())
    connection.request("GET", "/api/v1/healthz")
    with connection.getresponse() as answer:
        status = answer.status
    connection.close()
    return status
