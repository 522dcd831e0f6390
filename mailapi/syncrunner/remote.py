"""The remote side: a connection to a pinned address, TLS, the log-in, and the folders there.

    async with logged_in(job, rules) as remote:
        folders = await remote.folders(job["exclude"])

Certificates are checked for the name that was given, whatever the address. Only what a log-in and a
list need of IMAP4rev1 (RFC 3501) is here; the copying is the engine's. Raises `SyncFault`, whose
text never holds what was sent.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Final

from .. import reach
from . import listing, lookup
from .faults import SyncFault, explained
from .imap import LINE, Session, quoted
from .listing import Folder

CONNECT: Final = 8.0  # seconds for one address, TLS included
_CODE = re.compile(rb"NO \[([A-Z-]+)", re.IGNORECASE)
# Response codes (RFC 5530) of a refusal that lasts; ALERT says nothing of the cause.
_LASTING: Final = {
    *(b"AUTHENTICATIONFAILED", b"AUTHORIZATIONFAILED", b"EXPIRED", b"PRIVACYREQUIRED", b"ALERT"),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """`[sync]` as the remote side is concerned; `context` checks certificates."""

    allow_private_hosts: bool
    allow_plaintext: bool
    context: ssl.SSLContext


class Remote(Session):
    """A session from its greeting on."""

    async def greeting(self) -> None:
        line = (await self.line()).upper()
        if line.startswith(b"* PREAUTH"):
            raise SyncFault("preauth")
        if line.startswith(b"* BYE"):
            raise SyncFault("connection_lost")
        if not line.startswith(b"* OK"):
            raise SyncFault("no_imap")

    async def starttls(self, context: ssl.SSLContext, name: str) -> None:
        await self.look()
        if "STARTTLS" not in self.capabilities or not (await self.ask(b"STARTTLS")).ok:
            raise SyncFault("tls_failed")
        self.reader._buffer.clear()  # type: ignore[attr-defined]  # nothing said before TLS counts
        await self.writer.start_tls(context, server_hostname=name)

    async def login(self, user: str, password: str) -> None:
        await self.look()
        if "AUTH=PLAIN" in self.capabilities:
            text = base64.b64encode(f"\0{user}\0{password}".encode())
            answer = await self.ask(b"AUTHENTICATE PLAIN", further=text)
        elif "LOGINDISABLED" in self.capabilities:
            raise SyncFault("tls_failed")
        else:
            answer = await self.ask(b"LOGIN " + quoted(user) + b" " + quoted(password))
        if not answer.ok:
            code = _CODE.match(answer.text)
            lasting = code is None or code[1].upper() in _LASTING
            raise SyncFault("login_failed" if lasting else "login_unavailable")
        await self.look()

    async def folders(self, exclude: Iterable[str]) -> list[Folder]:
        return await listing.folders(self, exclude)


@contextlib.asynccontextmanager
async def logged_in(job: dict[str, Any], rules: Rules) -> AsyncIterator[Remote]:
    """A session for `host1`, `port1`, `enc1`, `user1`, `password1` of the job."""
    with explained():
        remote = await _connected(job, rules)
    try:
        with explained():
            await remote.login(job["user1"], job["password1"])
        yield remote
    finally:
        remote.writer.transport.abort()


async def _connected(job: dict[str, Any], rules: Rules) -> Remote:
    host, enc = job["host1"], job["enc1"]
    if enc == "PLAIN" and not rules.allow_plaintext and not reach.loopback(host):
        raise SyncFault("plain_refused")
    fault = SyncFault("unreachable")
    for address in await _addresses(host, job["port1"], rules.allow_private_hosts):
        try:
            with explained():
                async with asyncio.timeout(CONNECT):
                    return await _open(address, job["port1"], enc, host, rules.context)
        except SyncFault as error:
            fault = error
    raise fault


async def _open(address: str, port: int, enc: str, host: str, context: ssl.SSLContext) -> Remote:
    tls: dict[str, Any] = {"ssl": context, "server_hostname": host} if enc == "SSL" else {}
    remote = Remote(*await asyncio.open_connection(address, port, limit=LINE, **tls))
    try:
        await remote.greeting()
        if enc == "TLS":
            await remote.starttls(context, host)
    except BaseException:
        remote.writer.transport.abort()
        raise
    return remote


async def _addresses(host: str, port: int, allow_private: bool) -> list[str]:
    """What the name leads to, once; all of it must be in reach."""
    found = await lookup.addresses(host, port)
    if not allow_private and not all(map(reach.public, found)):
        raise SyncFault("host_not_allowed")
    return found[:4]
