"""Sync jobs from end to end: a service on a `Bed`, a runner as a process of its own, a `Remote`.

    async with Syncing(bed, remote) as sync:
        job = await sync.job()                  # -> its number; it is due at once
        await sync.ran(job)                     # -> the job, once its run has ended

The runner has the rights of the mail's user, as on a real host.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Self

from aiohttp.test_utils import TestClient, TestServer
from bed import Bed
from layout import VMAIL
from process import _processes
from remote import HOST, PASSWORD, USER, Remote, contents
from restapi import Answer, Api, domain

from mailapi import app, local
from mailapi.config import Config

OWN = "correct horse"


class Syncing:
    def __init__(self, bed: Bed, remote: Remote, **settings: Any) -> None:
        self.bed, self.remote = bed, remote
        sync = {
            "socket": bed.root / "sync.sock",
            "user": str(VMAIL),
            "key_file": bed.root / "secrets" / "keys",
            "dovecot": bed.layout.dovecot,
            "allow_private_hosts": True,
            "allow_plaintext": True,
        }
        update = {"sync": bed.config.sync.model_copy(update=sync | settings)}
        update["rate_limit"] = bed.config.rate_limit.model_copy(update={"requests": 0})
        self.config: Config = bed.config.model_copy(update=update)
        self.log = bed.root / "runner.log"
        self._stack = contextlib.AsyncExitStack()
        self._process: Any = None

    async def __aenter__(self) -> Self:
        key = local.add_key(self.config, {"name": "sync", "scope": "admin"})
        server = TestServer(app.create(self.config))
        client = await self._stack.enter_async_context(TestClient(server))
        self.api = Api(client, key, self.config)
        await self._stack.enter_async_context(app._runner_socket(self.config, server.app))
        self.domain = f"s{time.time_ns()}.example"
        await self.api.made("/domains", domain(self.domain))
        self.start()
        while not self.api.context.desk.attended:
            await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        rows = self.api.rows("SELECT job_id, result, output FROM sync_run ORDER BY id DESC LIMIT 4")
        print(rows)
        print(self.said())  # with the report of a test that fails
        if self._process is not None:
            self._process.kill()
            self._process.join()
        await self._stack.aclose()

    # ---------- the runner ----------

    def start(self) -> None:
        arguments = (self.config, str(self.log), str(self.remote.ca), self._mark())
        self._process = _processes.Process(target=_child, args=arguments, daemon=True)
        self._process.start()

    def kill(self) -> None:
        """kill -9; its engines end by themselves."""
        self._process.kill()
        self._process.join()

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        self._process.terminate()
        await asyncio.to_thread(self._process.join, 20)
        return int(self._process.exitcode)

    # ---------- jobs ----------

    async def mailbox(self, name: str = "ann", **fields: Any) -> str:
        email = f"{name}@{self.domain}"
        body = {"local_part": name, "domain": self.domain, "name": "", "password": OWN}
        await self.api.made("/mailboxes", body | {"quota": 100, "active": True} | fields)
        return email

    def body(self, username: str, **fields: Any) -> dict[str, Any]:
        """A job of plain IMAP from the remote side."""
        return {
            "username": username,
            "host1": HOST,
            "port1": self.remote.port,
            "user1": USER,
            "password1": PASSWORD,
            "enc1": "PLAIN",
        } | fields

    async def job(self, username: str, **fields: Any) -> int:
        answer = await self.api.made("/syncjobs", self.body(username, **fields))
        return int(answer["id"])

    async def tested(self, username: str, **fields: Any) -> Answer:
        return await self.api.post("/syncjobs?test=1", self.body(username, **fields))

    def due(self, job: int) -> None:
        """Its time has come, unless it runs; set beside the service."""
        path = self.config.state.directory / "mailapi.db"
        with contextlib.closing(sqlite3.connect(path, timeout=5)) as db, db:
            db.execute("UPDATE sync_job SET due = 1 WHERE id = ? AND running IS NULL", (job,))

    async def begun(self, job: int, number: int) -> None:
        """Its run of this number has begun, without a pause after the one before."""
        async with asyncio.timeout(20):
            while len(await self.runs(job)) < number:
                self.due(job)
                await asyncio.sleep(0.02)

    async def show(self, job: int) -> dict[str, Any]:
        found: dict[str, Any] = (await self.api.get(f"/syncjobs/{job}")).json
        return found

    async def runs(self, job: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.api.get(f"/syncjobs/{job}/runs")).json
        return found

    async def until(self, job: int, what: Any, timeout: float = 20) -> dict[str, Any]:
        """The job, as soon as `what` of it is true."""
        deadline = time.monotonic() + timeout
        while not what(shown := await self.show(job)):
            assert time.monotonic() < deadline, (shown, await self.runs(job), self.said())
            await asyncio.sleep(0.02)
        return shown

    async def ran(self, job: int, number: int = 1, timeout: float = 20) -> dict[str, Any]:
        """The job, once `number` of its runs have ended, and none is under way."""
        deadline = time.monotonic() + timeout
        while True:
            runs = await self.runs(job)
            if sum(run["ended"] is not None for run in runs) >= number and runs[0]["ended"]:
                return await self.show(job)
            assert time.monotonic() < deadline, (runs, self.said())
            await asyncio.sleep(0.02)

    async def again(self, job: int, timeout: float = 20) -> dict[str, Any]:
        """Start it, and wait for the end of that run."""
        before = len(await self.runs(job))
        assert (await self.api.post(f"/syncjobs/{job}/run")).status == 200
        return await self.ran(job, before + 1, timeout)

    def contents(self, email: str) -> dict[str, list[tuple[str, str, str]]]:
        with self.bed.imap(email, OWN) as client:
            return contents(client)

    def engines(self) -> list[int]:
        """Processes of mbsync, and of imap for it, that this runner has started."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._mark().encode() in (process / "environ").read_bytes():
                    found.append(int(process.name))
        return found

    def _mark(self) -> str:
        """Part of the environment of each of its engines, and of no other's."""
        return f"mailapi-sync-{self.domain}-"

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def _child(config: Config, log: str, ca: str, mark: str) -> None:
    """As the mail's user from here on; what is imported later may not be readable for it."""
    import encodings.idna
    import encodings.utf_16_be  # noqa: F401 - for names

    from mailapi import loop
    from mailapi.syncrunner import engine, relay
    from mailapi.syncrunner.main import serve

    relay.SILENCE = 3.0  # type: ignore[misc]  # a minute is long for a test
    engine.PREFIX = mark  # type: ignore[misc]  # others' engines run at the same time

    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.environ["SSL_CERT_FILE"] = ca
    os.setgroups([])
    os.setgid(VMAIL)
    os.setuid(VMAIL)
    loop.run(serve(config))


def state_files(bed: Bed, email: str) -> list[Path]:
    """What the engine remembers of a mailbox."""
    local_part, _, name = email.rpartition("@")
    return [*(bed.root / "mail" / name / local_part / "mailapi-sync").rglob("*")]
