"""What a sync job costs, beside `doveadm sync` by hand on the same mail, and 200 jobs at once."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

from peers import beds
from remote import HOST, PASSWORD, USER, Remote
from syncing import Syncing

FOLDERS, EACH, SIZE, ROUNDS = 30, 167, 6_000, 5
JOBS = 200


async def copies(row: Callable[..., None]) -> None:
    """5,010 messages in 30 folders, into an empty mailbox each time, by turns."""
    with beds.Bed() as bed, Remote() as remote:
        for number in range(FOLDERS):
            remote.fill(f"f{number}" if number else "INBOX", EACH, size=SIZE)
        async with Syncing(bed, remote) as sync:
            ours, again, theirs = [], [], []
            for turn in range(ROUNDS):
                email = await sync.mailbox(f"ours{turn}", quota=1000)
                begin = time.perf_counter()
                job = await sync.job(email)
                await _ok(sync, await sync.ran(job, timeout=120))
                ours.append(time.perf_counter() - begin)
                begin = time.perf_counter()
                await _ok(sync, await sync.again(job))
                again.append(time.perf_counter() - begin)
                email = await sync.mailbox(f"theirs{turn}", quota=1000)
                theirs.append(await asyncio.to_thread(_doveadm, bed, email, remote.port))
    total = FOLDERS * EACH
    rates = [total / statistics.median(times) for times in (ours, theirs)]
    row(f"doveadm sync by hand, {total} messages in {FOLDERS} folders", f"{rates[1]:.0f} a second")
    share = f"{rates[0]:.0f} a second = {rates[0] / rates[1]:.2f} x"
    row("a sync job, the same messages", share, "0.9 x")
    row("  its second run, which copies nothing", f"{statistics.median(again):.2f} s", "5 s")


async def _ok(sync: Syncing, job: dict[str, Any]) -> None:
    if job["exit_status"] != "ok":
        raise RuntimeError(await sync.runs(job["id"]))


def _doveadm(bed: beds.Bed, email: str, port: int) -> float:
    settings = {
        "imapc_host": HOST, "imapc_port": port, "imapc_user": USER, "imapc_password": PASSWORD,
        "imapc_features": "rfc822.size fetch-headers", "mail_prefetch_count": 20,
        "namespace/inbox/separator": "/",
    }  # fmt: skip
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    command = ("doveadm", "-c", bed.layout.dovecot, *options, "sync", "-1", "-R", "-u", email)
    begin = time.perf_counter()
    subprocess.run([*command, "imapc:"], check=True, capture_output=True)
    return time.perf_counter() - begin


async def at_once(row: Callable[..., None]) -> None:
    """All are due at the same moment; the API is asked meanwhile."""
    most, times = 0, []
    with beds.Bed() as bed, Remote() as remote:
        remote.fill("INBOX", 20)
        async with Syncing(bed, remote, max_parallel=4) as sync:
            emails = [await sync.mailbox(f"m{number}", quota=1) for number in range(JOBS)]
            jobs = [await sync.job(email, active=False) for email in emails]
            begin = time.perf_counter()
            path = sync.config.state.directory / "mailapi.db"
            with contextlib.closing(sqlite3.connect(path, timeout=5)) as db, db:
                db.execute("UPDATE sync_job SET active = 1, due = 1")
            while _ended(sync) < JOBS:
                asked = time.perf_counter()
                await sync.show(jobs[len(times) % JOBS])
                times.append(time.perf_counter() - asked)
                running = sync.api.rows("SELECT count(*) FROM sync_job WHERE running IS NOT NULL")
                most = max(most, running[0][0])
                await asyncio.sleep(0.005)
            took = time.perf_counter() - begin
            states = set(sync.api.rows("SELECT exit_status, messages FROM sync_job"))
    if states != {("ok", 20)}:
        raise RuntimeError(states)
    p99 = sorted(times)[int(len(times) * 0.99)]
    row(f"{JOBS} sync jobs due at once, 20 messages each", f"{took:.0f} s, at most {most} run", "4")
    row("  GET one meanwhile", f"p99 {p99 * 1000:.1f} ms", "50 ms")


def _ended(sync: Syncing) -> int:
    return int(sync.api.rows("SELECT count(*) FROM sync_run WHERE ended IS NOT NULL")[0][0])
