"""The service as a process of its own: started, asked, killed, started again.

    service = Service(tmp_path)
    service.start()                             # `mailapi serve --dev`, and waits until it is ready
    service.ask("POST", "/domains", body)       # -> (status, JSON)
    service.kill(); service.start()

Processes are forked from one that has imported the service already, so that a start takes tenths of
a second; what runs in them is the command. `fault` names what goes wrong in it (`mishap`). The log
of all starts is `service.log`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import multiprocessing
import os
import socket
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import lmdb
import mishap
import oracle
from bed import poll

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    ["mailapi.app", "mailapi.cli", "mailapi.local", "mailapi.syncrunner.main", "uvloop"]
)


class Service:
    def __init__(self, root: Path, **environment: str) -> None:
        self.root = root
        self.database = root / "state" / "mailapi.db"
        self.postfix, self.dovecot = root / "postfix", root / "dovecot"
        self.log = root / "log"
        self._environment = {
            "MAILAPI_SERVER__PORT": "0",
            "MAILAPI_LOG__FORMAT": "json",
            "MAILAPI_RATE_LIMIT__REQUESTS": "0",
        }
        self.set(**environment)
        self._seen = 0
        self._process: Any = None
        self._connection: http.client.HTTPConnection | None = None

    def set(self, **environment: str) -> None:
        """Configuration for the next start, as `reload__command="[...]"`."""
        self._environment |= {f"MAILAPI_{k.upper()}": v for k, v in environment.items()}

    # ---------- the process ----------

    def launch(self, *options: str, fault: mishap.Fault | None = None) -> None:
        """Begin to start; nothing is waited for."""
        assert not self.running, "it runs already"
        self.root.mkdir(exist_ok=True)
        self.log.touch()
        self._seen = self.log.stat().st_size
        argv = ["serve", "--dev", str(self.root), *options]
        self._process = _processes.Process(
            target=_child, args=(argv, self._environment, str(self.log), fault), daemon=True
        )
        self._process.start()

    def start(self, *options: str, fault: mishap.Fault | None = None) -> None:
        """Returns when it answers requests."""
        self.launch(*options, fault=fault)
        self.listening()

    def listening(self, timeout: float = 10) -> None:
        """Wait until it answers requests; where, is `self.url`."""
        where = poll(self._where, timeout, f"the service listens; see {self.log}")
        self.url = where
        self.key = (self.root / "admin.key").read_text().strip()

    def _where(self) -> str | None:
        assert self.running, f"the service has ended: {self.said()[-3000:]}"
        for line in self.said().splitlines():
            if '"event": "serving"' in line:
                return str(json.loads(line)["where"])
        return None

    def said(self) -> str:
        """The log since the last start."""
        with self.log.open(errors="replace") as stream:
            stream.seek(self._seen)
            return stream.read()

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self.ended()

    def terminate(self) -> None:
        """SIGTERM; nothing is waited for."""
        self._process.terminate()

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM; the exit code."""
        self.terminate()
        return self.ended(timeout)

    def ended(self, timeout: float = 15) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        self._process.join(timeout)
        assert not self.running, f"it does not end; see {self.log}"
        self.hang_up()
        return int(self._process.exitcode)

    def close(self) -> None:
        if self.running:
            self.kill()

    # ---------- requests ----------

    def ask(
        self, method: str, path: str, body: Any = None, timeout: float = 40, **headers: str
    ) -> tuple[int, Any]:
        """Status and JSON. Raises OSError or HTTPException if the service dies meanwhile."""
        if self._connection is None:
            netloc, self._base = self.url.removeprefix("http://").split("/", 1)
            self._connection = http.client.HTTPConnection(netloc, timeout=timeout)
        try:
            self._connection.request(
                method,
                f"/{self._base}{path}",
                None if body is None else json.dumps(body),
                {
                    "Authorization": f"Bearer {self.key}",
                    "Content-Type": "application/json",
                    **{name.replace("_", "-"): value for name, value in headers.items()},
                },
            )
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self.hang_up()
            raise
        return answer.status, json.loads(text)

    def must(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The JSON of an answer that is 2xx and, for a change, says applied."""
        status, answer = self.ask(method, path, body, **headers)
        assert status in (200, 201), (status, answer)
        return answer

    def stored(self, method: str, path: str, body: Any = None, **headers: str) -> int:
        """The generation of a change that is stored, live or not."""
        status, answer = self.ask(method, path, body, **headers)
        assert status in (200, 201, 202), (status, answer)
        return int(answer["generation"])

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def session(self) -> aiohttp.ClientSession:
        """For many requests at a time: paths are relative, as `domains`."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return aiohttp.ClientSession(f"{self.url}/", headers=headers)

    def socket_address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split("/")[0].rsplit(":", 1)
        return host, int(port)

    def socket(self) -> socket.socket:
        """A bare connection, for clients that behave badly."""
        return socket.create_connection(self.socket_address(), 10)

    def ready(self) -> bool:
        return self.ask("GET", "/readyz")[0] == 200

    # ---------- what is stored, and what is on disk ----------

    def state(self) -> oracle.State:
        """The database's domains, mailboxes and aliases, read beside the service."""
        return state(self.database)

    def differences(self) -> list[str]:
        """How the files differ from the database, and their maps from the text; and leftovers."""
        try:
            found = oracle.read(self.postfix, self.dovecot)
        except (OSError, AssertionError) as error:
            return [f"unreadable: {error}"]
        said = oracle.compare(oracle.expected(self.state()), found)
        for name in oracle.MAPS if (self.postfix / f"{oracle.MAPS[0]}.lmdb").exists() else ():
            if lmdb_entries(self.postfix / name) != found[name]:
                said.append(f"lmdb:{name} is not what the text is")
        leftovers = [*self.postfix.glob(".*"), *self.dovecot.glob(".*")]
        return said + [f"left over: {path.name}" for path in leftovers]

    def agrees(self, timeout: float = 2) -> None:
        """Files equal the database and /readyz says so, within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (said := self.differences()) or not self.ready():
            assert time.monotonic() < deadline, [*said, self.ask("GET", "/status"), self.said()]
            time.sleep(0.01)


def state(database: Path) -> oracle.State:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        db.execute("BEGIN")  # one moment
        found = {
            "domains": _rows(db, "SELECT * FROM domain"),
            "mailboxes": _rows(db, "SELECT * FROM mailbox"),
            "aliases": _rows(
                db,
                "SELECT *, (SELECT group_concat(address, ',') FROM (SELECT address FROM "
                "alias_target t WHERE t.alias_id = a.id ORDER BY position)) AS goto FROM alias a",
            ),
        }
    return found


def _rows(db: sqlite3.Connection, sql: str) -> list[dict[str, Any]]:
    return [dict(row) for row in db.execute(sql)]


def lmdb_entries(path: Path) -> dict[str, str] | None:
    """What an lmdb: map holds as smtpd(8) sees it; None where there is none that can be read."""
    try:
        with (
            lmdb.open(f"{path}.lmdb", subdir=False, lock=False, readonly=True) as env,
            env.begin() as txn,
        ):
            entries = [(bytes(key), bytes(value)) for key, value in txn.cursor()]
    except (lmdb.Error, OSError):
        return None
    assert all(key[-1:] == value[-1:] == b"\0" for key, value in entries), "no NUL at the end"
    return {key[:-1].decode(): value[:-1].decode() for key, value in entries}


def _child(
    argv: list[str], environment: Mapping[str, str], log: str, fault: mishap.Fault | None
) -> None:
    fd = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.environ.update(environment)
    if fault is not None:
        fault.install()
    from mailapi.cli import main

    main(argv, prog_name="mailapi")
