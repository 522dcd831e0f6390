"""The remote side: a connection to a pinned address, TLS, the log-in, and the folders there.

    async with logged_in(job, rules) as remote:
        folders = await remote.folders()

Certificates are checked for the name that was given, whatever the address. Only what a log-in and a
list need of IMAP4rev1 (RFC 3501; NAMESPACE, RFC 2342; STATUS=SIZE, RFC 8438); the copying is the
engine's. Raises `SyncFault`, whose text never holds what was sent.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final

from .. import reach
from .faults import SyncFault
from .names import decode

CONNECT: Final = 8.0  # seconds for one address, TLS included
ANSWER: Final = 15.0  # seconds for the answer to a command
LINE: Final = 1 << 20  # octets of a line, at most
_LIST = re.compile(rb'\* LIST \(([^)]*)\) (NIL|"(?:\\.|[^"])*") (.*)', re.IGNORECASE | re.DOTALL)
_PERSONAL = re.compile(rb'\* NAMESPACE \(\(("(?:\\.|[^"])*")', re.IGNORECASE)
_NUMBER = re.compile(rb"(MESSAGES|SIZE) (\d+)", re.IGNORECASE)
_LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n$")


@dataclass(frozen=True, slots=True)
class Rules:
    """`[sync]` as the remote side is concerned; `context` checks certificates."""

    allow_private_hosts: bool
    allow_plaintext: bool
    context: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class Folder:
    """`wire` is its name as the server writes it, with `separator`s.

    `name` is in Unicode, with /, and without what a server puts before all names, as `INBOX.`.
    """

    wire: str
    separator: str
    name: str
    messages: int
    bytes: int | None

    @property
    def levels(self) -> list[str]:
        return self.wire.split(self.separator) if self.separator else [self.wire]


class Remote:
    """A session; `reader` and `writer` are for the relay once it is logged in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.capabilities: frozenset[str] = frozenset()
        self._number = 0

    async def greeting(self) -> None:
        line = await self._line()
        if not line.upper().startswith((b"* OK", b"* PREAUTH")):
            raise SyncFault("no_imap")

    async def starttls(self, context: ssl.SSLContext, name: str) -> None:
        await self.look()
        if "STARTTLS" not in self.capabilities or not await self._ok(b"STARTTLS"):
            raise SyncFault("tls_failed")
        self.reader._buffer.clear()  # type: ignore[attr-defined]  # nothing said before TLS counts
        await self.writer.start_tls(context, server_hostname=name)

    async def look(self) -> None:
        """What the server can."""
        lines, _ = await self._command(b"CAPABILITY")
        words = next((w for w in lines if w.upper().startswith(b"* CAPABILITY")), b"")
        self.capabilities = frozenset(words.decode("ascii", "replace").upper().split()[2:])

    async def login(self, user: str, password: str) -> None:
        await self.look()
        if "AUTH=PLAIN" in self.capabilities:
            text = base64.b64encode(f"\0{user}\0{password}".encode())
            done = await self._ok(b"AUTHENTICATE PLAIN", text)
        elif "LOGINDISABLED" in self.capabilities:
            raise SyncFault("tls_failed")
        else:
            done = await self._ok(b"LOGIN " + _quoted(user) + b" " + _quoted(password))
        if not done:
            raise SyncFault("login_failed")
        await self.look()

    async def folders(self) -> list[Folder]:
        """All that can be opened, in the server's order."""
        prefix = await self._prefix()
        lines, ok = await self._command(b'LIST "" "*"')
        if not ok:
            raise SyncFault("listing_failed")
        size = b" SIZE" if "STATUS=SIZE" in self.capabilities else b""
        return [
            Folder(wire, separator, _name(wire, separator, prefix), *await self._status(wire, size))
            for wire, separator in filter(None, map(_listed, lines))
        ]

    async def _prefix(self) -> str:
        """Before the names of the user's own folders, all but INBOX itself."""
        if "NAMESPACE" not in self.capabilities:
            return ""
        lines, _ = await self._command(b"NAMESPACE")
        found = next(filter(None, map(_PERSONAL.match, lines)), None)
        return unquoted(found[1]) if found else ""

    async def _status(self, wire: str, size: bytes) -> tuple[int, int | None]:
        lines, ok = await self._command(b"STATUS " + _quoted(wire) + b" (MESSAGES" + size + b")")
        text = b" ".join(lines)
        found = {key.upper(): int(value) for key, value in _NUMBER.findall(text)} if ok else {}
        return found.get(b"MESSAGES", 0), found.get(b"SIZE")

    async def _ok(self, command: bytes, further: bytes | None = None) -> bool:
        return (await self._command(command, further))[1]

    async def _command(
        self, command: bytes, further: bytes | None = None
    ) -> tuple[list[bytes], bool]:
        """The untagged lines, and whether it was OK; `further` is sent when it is asked for."""
        self._number += 1
        tag = b"R%d" % self._number
        self.writer.write(tag + b" " + command + b"\r\n")
        lines: list[bytes] = []
        while True:
            line = await self._line()
            if line.startswith(tag + b" "):
                return lines, line[len(tag) + 1 :].upper().startswith(b"OK")
            if line.startswith(b"+") and further is not None:
                self.writer.write(further + b"\r\n")
            elif line.upper().startswith(b"* BYE"):
                raise SyncFault("connection_lost")
            else:
                lines.append(line)

    async def _line(self) -> bytes:
        """A response, literals included as quoted text would be."""
        async with asyncio.timeout(ANSWER):
            line = await self.reader.readuntil(b"\r\n")
            while found := _LITERAL.search(line):
                text = await self.reader.readexactly(min(int(found[1]), LINE))
                rest = await self.reader.readuntil(b"\r\n")
                line = line[: found.start()] + _quoted(text.decode("utf-8", "replace")) + rest
            return line.removesuffix(b"\r\n")


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
    addresses = await _addresses(host, job["port1"], rules.allow_private_hosts)
    fault = SyncFault("unreachable")
    for address in addresses:
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
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        raise SyncFault("host_not_found") from None
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    if not allow_private and not all(map(reach.public, addresses)):
        raise SyncFault("host_not_allowed")
    return addresses[:4]


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Exceptions of the network become a `SyncFault`."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        name = error.verify_code in (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH
        raise SyncFault("certificate_name" if name else "certificate") from None
    except TimeoutError:
        raise SyncFault("timeout") from None
    except ssl.SSLError:
        raise SyncFault("tls_failed") from None
    except ConnectionRefusedError:
        raise SyncFault("refused") from None
    except (ConnectionError, asyncio.IncompleteReadError):
        raise SyncFault("connection_lost") from None
    except asyncio.LimitOverrunError:
        raise SyncFault("no_imap") from None
    except OSError:
        raise SyncFault("unreachable") from None


def _quoted(text: str) -> bytes:
    return b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


def _listed(line: bytes) -> tuple[str, str] | None:
    """`wire` and `separator` of a folder; None for what cannot be opened."""
    found = _LIST.fullmatch(line)
    if found is None or re.search(rb"\\(Noselect|NonExistent)", found[1], re.IGNORECASE):
        return None
    return unquoted(found[3]), "" if found[2].upper() == b"NIL" else unquoted(found[2])


def _name(wire: str, separator: str, prefix: str) -> str:
    """Without the prefix, but where INBOX itself would be left."""
    short = wire.removeprefix(prefix)
    name = wire if short.upper() in ("", "INBOX") else short
    levels = name.split(separator) if separator else [name]
    return "/".join(decode(level).replace("/", "_") for level in levels)


def unquoted(text: bytes) -> str:
    """What an astring says; a name stays in modified UTF-7."""
    if text[:1] == b'"':
        text = re.sub(rb"\\(.)", rb"\1", text[1:-1])
    return text.decode("utf-8", "replace")
