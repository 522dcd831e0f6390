"""A running service for tests, and a client that says what it got.

    api = Api(client, key, root)
    answer = await api.post("/domains", DOMAIN)
    answer.status, answer.json, answer.headers

Paths are relative to /api/v1, begin with it, or name an open page; they are sent as they stand, so
a test says itself what is percent-encoded. `Api.raw` sends octets and returns octets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aiohttp.test_utils import TestClient
from multidict import CIMultiDictProxy
from yarl import URL

from mailapi import local
from mailapi.api.context import CONTEXT, Context
from mailapi.config import Config

BASE = "/api/v1"
NOTHING: Any = object()
DOMAIN: dict[str, Any] = {
    "domain": "example.com",
    "active": True,
    "aliases": 400,
    "backupmx": False,
    "defquota": 3072,
    "description": "Example domain",
    "mailboxes": 10,
    "maxquota": 10240,
    "quota": 10240,
}
MAILBOX: dict[str, Any] = {
    "active": True,
    "domain": "example.com",
    "local_part": "user",
    "name": "Example User",
    "password": "securepassword123",
    "quota": 3072,
    "force_pw_update": False,
    "tls_enforce_in": False,
    "tls_enforce_out": False,
}
ALIAS: dict[str, Any] = {"address": "info@example.com", "goto": "user@example.com"}
JOB: dict[str, Any] = {
    "username": "user@example.com",
    "host1": "imap.example.org",
    "user1": "old@example.org",
    "password1": "c4nary of the remote side",
}
HASH = "{BLF-CRYPT}$2b$04$" + "." * 22 + "a" * 31


def domain(name: str = "example.com", **fields: Any) -> dict[str, Any]:
    return DOMAIN | {"domain": name, "quota": 10**6, "mailboxes": 5000} | fields


def mailbox(email: str, **fields: Any) -> dict[str, Any]:
    """With a hash, which costs nothing, unless a password is given."""
    local_part, _, name = email.rpartition("@")
    body = MAILBOX | {"local_part": local_part, "domain": name, "quota": 1} | fields
    if "password" not in fields:
        del body["password"]
        body.setdefault("password_hash", HASH)
    return body


def alias(address: str, goto: str | list[str], **fields: Any) -> dict[str, Any]:
    return {"address": address, "goto": goto} | fields


@dataclass(frozen=True)
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def text(self) -> str:
        return self.raw.decode()

    def fields(self) -> list[str]:
        """The fields at fault."""
        return [item["field"] for item in self.json.get("errors", [])]

    def fault(self, status: int, code: str, *fields: str) -> str:
        """The message of an error that must be of this status, code and fields, in its shape."""
        assert (self.status, self.json.get("code")) == (status, code), self.text
        assert self.headers["Content-Type"] == "application/json; charset=utf-8"
        assert self.json["type"] == "error"
        assert set(self.json) <= {"type", "msg", "code", "errors"}
        assert tuple(item["field"] for item in self.json.get("errors", [])) == fields, self.text
        assert all(set(item) == {"field", "msg"} for item in self.json.get("errors", []))
        return str(self.json["msg"])


class Api:
    """`key` None: without one. `root` is where the service writes."""

    def __init__(self, client: TestClient[Any, Any], key: str | None, config: Config) -> None:
        self._client, self._key, self.config = client, key, config

    @property
    def context(self) -> Context:
        return self._client.server.app[CONTEXT]  # type: ignore[union-attr]  # a TestServer

    @property
    def app(self) -> Any:
        return self._client.server.app  # type: ignore[union-attr]  # a TestServer

    @property
    def port(self) -> int:
        assert self._client.server.port
        return self._client.server.port

    def using(self, key: str | None) -> Self:
        """The same service with another key."""
        return type(self)(self._client, key, self.config)

    def key(self, **fields: Any) -> Self:
        """The same service with a new key."""
        return self.using(local.add_key(self.config, {"name": "test", "scope": "write"} | fields))

    @property
    def secret(self) -> str:
        return self._key or ""

    async def send(
        self,
        method: str,
        path: str,
        body: Any = NOTHING,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
    ) -> Answer:
        if not path.startswith((BASE, "/metrics", "/password", "/.well-known", "//")):
            path = BASE + path
        url = URL(str(self._client.make_url("/")).rstrip("/") + path, encoded=True)
        sent = {"Authorization": f"Bearer {self._key}"} if self._key is not None else {}
        if body is not NOTHING:
            data = json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        async with self._client.session.request(
            method, url, data=data, headers=sent, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.send("GET", path, headers=_names(headers))

    async def head(self, path: str, **headers: str) -> Answer:
        return await self.send("HEAD", path, headers=_names(headers))

    async def post(self, path: str, body: Any = NOTHING, **headers: str) -> Answer:
        return await self.send("POST", path, body, _names(headers))

    async def put(self, path: str, body: Any = NOTHING, **headers: str) -> Answer:
        return await self.send("PUT", path, body, _names(headers))

    async def delete(self, path: str, **headers: str) -> Answer:
        return await self.send("DELETE", path, headers=_names(headers))

    async def made(self, path: str, body: Any) -> Any:
        """POST, which must succeed; its JSON."""
        answer = await self.post(path, body)
        assert answer.status == 201, answer.text
        return answer.json

    async def changed(self, path: str, body: Any) -> Any:
        """PUT, which must succeed; the object as it is now."""
        answer = await self.put(path, body)
        assert answer.status == 200, answer.text
        return answer.json["data"]

    async def raw(self, *octets: bytes, until: bytes = b"", seconds: float = 10) -> bytes:
        """What the server sends until it closes, or has sent `until`; or TimeoutError.

        The parts are sent one by one, each in packets of its own.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in octets:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            async with asyncio.timeout(seconds):
                return await (reader.readuntil(until) if until else reader.read())
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    # ---------- what is stored ----------

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """Rows of the database, read beside the service."""
        path = self.config.state.directory / "mailapi.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return db.execute(sql, values).fetchall()

    def generation(self) -> int:
        return int(self.rows("SELECT generation FROM state")[0][0])

    def file(self, name: str) -> str:
        """The text of a rendered file."""
        directory = self.config.dovecot if name == "users" else self.config.postfix
        return (directory.directory / name).read_text(encoding="ascii")

    def everything(self) -> dict[str, Any]:
        """All rows and all octets of files; the same before and after a request changed nothing."""
        found: dict[str, Any] = {}
        for (table,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'"):
            columns = "generation" if table == "state" else "*"
            found[table] = self.rows(f"SELECT {columns} FROM {table} ORDER BY 1")
        for directory in (self.config.postfix.directory, self.config.dovecot.directory):
            for file in sorted(directory.iterdir()):
                if not file.name.endswith("-lock"):  # readers leave their marks there
                    found[str(file)] = (file.stat().st_mtime_ns, file.read_bytes())
        return found


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    """Keyword arguments as names of headers: If_Match is If-Match."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def canaries(directory: Path, *texts: str) -> list[str]:
    """The files below the directory that hold one of the texts."""
    octets = [text.encode() for text in texts]
    return [
        str(file)
        for file in sorted(directory.rglob("*"))
        if file.is_file() and any(text in file.read_bytes() for text in octets)
    ]
