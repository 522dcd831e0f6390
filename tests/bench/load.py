"""What the bench needs: a state of any size, a service on it, and clients that cost little.

The client speaks just enough HTTP/1.1 over asyncio to keep one connection busy: a request, its
status line, its Content-Length or its chunks. The service runs as its own process, as for a user.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from mailapi import config, local
from mailapi.passwords import UNMATCHABLE

HASH = "{BLF-CRYPT}$2b$04$GmqKJ9dbVCl4O7dUeDVUPejDbRhUdJ3kDkRbVJYzgLqA9n9J2n/qS"
NOW = "2026-01-01T00:00:00Z"


class Client:
    """One connection; `request` gives status and body."""

    def __init__(self, port: int, key: str) -> None:
        self._port, self._key = port, key
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, limit=1 << 20
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def request(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        data = b"" if body is None else json.dumps(body).encode()
        self._writer.write(
            f"{method} /api/v1{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            + data
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        if found := re.search(rb"content-length: (\d+)", head, re.IGNORECASE):
            return status, await self._reader.readexactly(int(found[1]))
        parts = []
        while size := int(await self._reader.readline(), 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return status, b"".join(parts)


class Service:
    """A running `mailapi serve --dev DIR` (or `--config FILE`)."""

    def __init__(self, port: int, key: str, process: subprocess.Popen[bytes], started: float):
        self.port, self.key, self.process, self.started = port, key, process, started

    def client(self) -> Client:
        return Client(self.port, self.key)

    def pss(self) -> float:
        """Proportional set size, MB."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1]) / 1024

    def peak(self) -> float:
        """The largest resident set so far, MB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmHWM:\s+(\d+)", text, re.MULTILINE)[1]) / 1024


@contextlib.contextmanager
def serving(root: Path, port: int, *, config_file: Path | None = None) -> Iterator[Service]:
    """Start the service on a state; `started` is the seconds until it answered."""
    what = config.load(config_file) if config_file else config.dev(root)
    key = local.add_key(what, {"name": "bench", "scope": "admin"})
    env = os.environ | {
        "MAILAPI_SERVER__PORT": str(port),
        "MAILAPI_RATE_LIMIT__REQUESTS": "0",
        "MAILAPI_LOG__LEVEL": "warning",
        "PYTHONPATH": str(Path(__file__).with_name("as_installed")),
    }
    options = ["--config", str(config_file)] if config_file else ["--dev", str(root)]
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "mailapi", "serve", *options], env=env)
    try:
        while not _answers(port):
            if process.poll() is not None or time.perf_counter() - begin > 60:
                raise RuntimeError("the service does not start")
            time.sleep(0.005)
        yield Service(port, key, process, time.perf_counter() - begin)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/healthz", timeout=1).close()
    except OSError:
        return False
    return True


def seed(root: Path, domains: int, mailboxes: int) -> None:
    """`mailboxes` in each of `domains`, straight into the database; nothing is rendered."""
    what = config.dev(root)
    local.keys(what)
    with contextlib.closing(sqlite3.connect(what.state.directory / "mailapi.db")) as db, db:
        for number in range(1, domains + 1):
            name = f"d{number}.example"
            db.execute(
                "INSERT INTO domain (id, domain, active, aliases, mailboxes, defquota, maxquota, "
                "quota, backupmx, description, created, modified) "
                "VALUES (?, ?, 1, 1000000, 1000000, 1, 1000, 1000000000, 0, '', ?, ?)",
                (number, name, NOW, NOW),
            )
            db.executemany(
                "INSERT INTO mailbox (domain_id, email, local_part, name, password_hash, quota, "
                "active, force_pw_update, tls_enforce_in, tls_enforce_out, generation, created, "
                "modified) VALUES (?, ?, ?, 'Some Name', ?, 100, 1, 0, 0, 0, 1, ?, ?)",
                (
                    (number, f"u{n}@{name}", f"u{n}", UNMATCHABLE, NOW, NOW)
                    for n in range(mailboxes)
                ),
            )
        db.execute("UPDATE state SET generation = 1")


def mailbox(local_part: str, domain: str = "d1.example", **fields: object) -> dict[str, object]:
    body = {"local_part": local_part, "domain": domain, "name": "", "quota": 1, "active": True}
    return body | (fields or {"password_hash": HASH})


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def each(count: int, work: Callable[[int], Awaitable[object]]) -> list[float]:
    """The seconds of each of `count` calls, one after the other."""
    found = []
    for number in range(count):
        begin = time.perf_counter()
        await work(number)
        found.append(time.perf_counter() - begin)
    return found


async def created(client: Client, path: str, body: object) -> None:
    status, text = await client.request("POST", path, body)
    if status != 201 or not json.loads(text)["applied"]:
        raise RuntimeError(text.decode())
