"""make bench: what the service costs, beside the bare operations of the same run.

Prints one table: the work, what was measured, what is to be reached. Absolute figures are true for
one machine at one time; the ratios are what to look at. `bench.py NAME …` runs only these parts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bcrypt
from load import Service, created, each, mailbox, percentile, seed, serving
from peers import beds, crowd, quiet
from syncs import at_once, copies

from mailapi import config, files, lmdbmap

PORT = 18080
ROWS: list[tuple[str, str, str]] = []
OUT = sys.stdout


def row(work: str, measured: str, target: str = "") -> None:
    ROWS.append((work, measured, target))
    print(f"{work:<66} {measured:<34} {target}", file=OUT, flush=True)


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def timed(work: Callable[[], object], times: int = 50) -> float:
    """The median seconds of one call."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def bare(root: Path) -> None:
    db = sqlite3.connect(root / "bare.db", isolation_level=None)
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (x)")
    row("bare: a committed row", ms(timed(lambda: db.execute("INSERT INTO t VALUES (1)"))))
    for lines in (1_000, 100_000):
        data = b"u1@d1.example " + b"x" * 150 + b"\n"
        data *= lines
        took = timed(lambda data=data: files.write(root / "bare.txt", data), 10)
        row(f"bare: an atomic file of {lines} lines", ms(took))
    map_ = lmdbmap.LmdbMap(root / "bare")
    map_.sync({})
    row("bare: an LMDB put", ms(timed(lambda: map_.update({os.urandom(8): b"OK"}, []))))
    row("bare: bcrypt at cost 12", ms(timed(lambda: bcrypt.hashpw(b"x", bcrypt.gensalt(12)), 3)))


def create(root: Path) -> None:
    """One client; the medians at each size against those of 100."""
    first: dict[str, float] = {}
    for domains, mailboxes in ((1, 100), (1, 1_000), (100, 100), (1_000, 100), (1, 100_000)):
        size = domains * mailboxes
        state = root / f"n{domains}x{mailboxes}"
        seed(state, domains, mailboxes)
        with serving(state, PORT) as service:
            row(f"start at N = {size} ({domains} domains)", f"{service.started:.2f} s",
                {1_000: "0.6 s", 100_000: "4 s"}.get(size, ""))  # fmt: skip
            row(f"memory after start at N = {size}", f"{service.pss():.0f} MB PSS",
                {1_000: "50 MB", 100_000: "160 MB"}.get(size, ""))  # fmt: skip
            times = asyncio.run(_creates(service))
            for kind, found in times.items():
                median = statistics.median(found)
                first.setdefault(kind, median)
                target = {100: "", 1_000: "5 ms", 10_000: "1.5 x"}.get(size, "10 x")
                measured = f"p50 {ms(median)} = {median / first[kind]:.1f} x of N = 100"
                row(f"create {kind}, one client, N = {size} ({domains} domains)", measured, target)
            rate = asyncio.run(_gets(service, domains, mailboxes))
            row(f"GET one, 16 clients, N = {size}", f"{rate:.0f} a second", "3,000 a second")
            if size in (10_000, 100_000):
                _list(service, size)


async def _creates(service: Service) -> dict[str, list[float]]:
    async with service.client() as client:
        goto = {"goto": "u1@d1.example"}
        aliases = await each(
            100, lambda n: created(client, "/aliases", {"address": f"a{n}@d1.example"} | goto)
        )
        boxes = await each(100, lambda n: created(client, "/mailboxes", mailbox(f"new{n}")))
    return {"alias": aliases, "mailbox": boxes}


async def _gets(service: Service, domains: int, mailboxes: int) -> float:
    count = 4_000

    async def some(offset: int) -> None:
        async with service.client() as client:
            for n in range(offset, count, 16):
                path = f"/mailboxes/u{n % mailboxes}@d{n % domains + 1}.example"
                if (await client.request("GET", path))[0] != 200:
                    raise RuntimeError(path)

    begin = time.perf_counter()
    await asyncio.gather(*(some(offset) for offset in range(16)))
    return count / (time.perf_counter() - begin)


def _list(service: Service, size: int) -> None:
    before = service.peak()

    async def once() -> float:
        async with service.client() as client:
            begin = time.perf_counter()
            await client.request("GET", "/mailboxes")
            return time.perf_counter() - begin

    took = statistics.median(asyncio.run(once()) for _ in range(3))
    more = service.peak() - before
    target = "100 ms" if size == 10_000 else "1 s, 25 MB"
    row(f"list of {size}", f"{ms(took)}, {more:.0f} MB more at most", target)


def many(root: Path) -> None:
    """16 clients at N = 1,000, and one batch."""
    state = root / "many"
    seed(state, 1, 1_000)
    with serving(state, PORT) as service:
        count = 1_600
        begin = time.perf_counter()
        asyncio.run(_clients(service, count))
        rate = count / (time.perf_counter() - begin)
        batches = _metric(service, "mailapi_batches_total")
        row("create mailbox, 16 clients, N = 1,000", f"{rate:.0f} a second", "600 a second")
        row("  changes for each time a file is written", f"{count / batches:.1f}", "8")
        items = [
            {"method": "POST", "path": "/mailboxes", "body": mailbox(f"b{n}")} for n in range(1000)
        ]

        async def batch() -> float:
            async with service.client() as client:
                begin = time.perf_counter()
                status, text = await client.request("POST", "/batch", items)
                if status != 200:
                    raise RuntimeError(text.decode()[:300])
                return time.perf_counter() - begin

        row("batch of 1,000 mailboxes", ms(asyncio.run(batch())), "1 s")


async def _clients(service: Service, count: int) -> None:
    async def some(offset: int) -> None:
        async with service.client() as client:
            for n in range(offset, count, 16):
                await created(client, "/mailboxes", mailbox(f"m{n}"))

    await asyncio.gather(*(some(offset) for offset in range(16)))


def _metric(service: Service, name: str) -> float:
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def passwords(root: Path) -> None:
    """200 password changes at once, and somebody who asks for /healthz meanwhile."""
    state = root / "passwords"
    seed(state, 1, 200)
    with serving(state, PORT) as service:
        took, health = asyncio.run(_passwords(service))
        row("200 password changes at once", f"{took:.1f} s")
        row("  /healthz meanwhile", f"p99 {ms(percentile(health, 0.99))}", "100 ms")


async def _passwords(service: Service) -> tuple[float, list[float]]:
    health: list[float] = []

    async def change(n: int) -> None:
        async with service.client() as client:
            status, text = await client.request(
                "PUT", f"/mailboxes/u{n}@d1.example", {"password": f"a new password {n}"}
            )
            if status != 200:
                raise RuntimeError(text.decode())

    async def watch() -> None:
        async with service.client() as client:
            while True:
                health.extend(await each(1, lambda _: client.request("GET", "/healthz")))
                await asyncio.sleep(0.01)

    begin = time.perf_counter()
    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(change(n) for n in range(200)))
    watcher.cancel()
    return time.perf_counter() - begin, health


def peers(root: Path) -> None:
    """With a real Postfix and a real Dovecot, which nobody uses meanwhile."""
    work = "create mailbox with Postfix and Dovecot"
    if reason := beds.missing():
        return row(work, f"left out: {reason}")
    with beds.Bed() as bed:
        file = root / "peers.toml"
        file.write_text(config.show(bed.config))
        with serving(root, PORT, config_file=file) as service:
            for clients, times, target in (
                ("one client", asyncio.run(quiet(service)), "15 ms"),
                ("16 at once", asyncio.run(crowd(service)), "each 1.1 s"),
            ):
                measured = f"p50 {ms(statistics.median(times))}, at most {ms(max(times))}"
                row(f"{work}, {clients}", measured, target)


def sync(root: Path) -> None:
    """Sync jobs, from a second Dovecot."""
    if reason := beds.missing():
        return row("sync jobs", f"left out: {reason}")
    with contextlib.redirect_stdout(sys.stderr):  # the tests' parts print more than the table
        asyncio.run(copies(row))
        asyncio.run(at_once(row))


PARTS = {
    "bare": bare,
    "create": create,
    "many": many,
    "passwords": passwords,
    "peers": peers,
    "sync": sync,
}


def main() -> None:
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory(prefix="mailapi-bench-", dir=os.environ.get("TMPDIR")) as root:
        for name in sys.argv[1:] or PARTS:
            PARTS[name](Path(root))


if __name__ == "__main__":
    main()
