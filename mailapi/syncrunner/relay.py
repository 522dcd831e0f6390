"""Between the engine and the remote side: a listener on loopback for one engine of one run.

    async with Relay(remote) as relay:
        relay.port, relay.word      # where the engine logs in, and its password there
        relay.seen                  # messages, bytes and the folder, as they pass

The engine's connection gets the session that is logged in already. Of its commands only those pass
that read, and SELECT goes on as EXAMINE, so the source cannot be changed, whatever the engine does.
A remote side that says nothing for `SILENCE` seconds while it is asked for something has hung.
Source: RFC 3501, sections 4.3 (literals), 6.3.2 (EXAMINE) and 7.4.2 (FETCH).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import re
import secrets
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from .remote import LINE, Remote, unquoted

SILENCE: Final = 60.0  # seconds
_CHUNK: Final = 1 << 16
_USER: Final = "mailapi"
_COMMAND = re.compile(rb"(\S+) (UID FETCH|UID SEARCH|\S+)(.*)\r\n", re.IGNORECASE | re.DOTALL)
_READS: Final = {
    *(b"CAPABILITY", b"NOOP", b"CHECK", b"NAMESPACE", b"LIST", b"LSUB", b"STATUS", b"EXAMINE"),
    *(b"SELECT", b"FETCH", b"UID FETCH", b"SEARCH", b"UID SEARCH", b"LOGOUT", b"ENABLE"),
}
_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")
_BODY = re.compile(rb"BODY\[\] \{\d+\}\r\n$", re.IGNORECASE)


@dataclass(slots=True)
class Seen:
    """What has passed; `folder` as on the wire; `lost` and `hung` are about the remote side."""

    messages: int = 0
    bytes: int = 0
    folder: str | None = None
    in_folder: int = 0
    lost: bool = False
    hung: bool = False
    refused: str | None = None


class Relay:
    """Use with `async with`; takes one connection that knows the word, and no other."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self.word = secrets.token_urlsafe(24)
        self.seen = Seen()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._taken = self._bye = False
        self._asked = self._heard = 0.0

    @property
    def port(self) -> int:
        assert self._server is not None  # noqa: S101 - only inside the `async with`
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=LINE)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):
                if await self._admitted(reader, writer) and not self._taken:
                    self._taken = True
                    await self._pass(reader, writer)
        finally:
            writer.transport.abort()

    async def _admitted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether it logs in with the word; all else is answered until then."""
        writer.write(b"* OK [CAPABILITY IMAP4rev1] relay\r\n")
        for _ in range(10):
            async with asyncio.timeout(10):
                line = await reader.readuntil(b"\r\n")
            tag, _, rest = line.strip().partition(b" ")
            if rest.upper() == b"CAPABILITY":
                writer.write(b"* CAPABILITY IMAP4rev1\r\n" + tag + b" OK done\r\n")
            elif rest.upper().startswith(b"LOGIN "):
                given = rest[6:].replace(b'"', b"")
                if hmac.compare_digest(given, f"{_USER} {self.word}".encode()):
                    writer.write(tag + b" OK done\r\n")
                    return True
                writer.write(tag + b" NO no\r\n")
            else:
                writer.write(tag + b" BAD log in\r\n")
        return False

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        work = (self._upwards(reader, writer), self._downwards(writer), self._watch())
        tasks = [asyncio.create_task(one) for one in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _upwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            line = await reader.readuntil(b"\r\n")
            found = _COMMAND.fullmatch(line)
            if found is None or found[2].upper() not in _READS or line.endswith(b"}\r\n"):
                self.seen.refused = (found[2] if found else b"?").decode("ascii", "replace")[:20]
                writer.write((found[1] if found else b"*") + b" NO [NOPERM] read only\r\n")
                continue
            verb = found[2].upper()
            if verb in (b"SELECT", b"EXAMINE"):
                line = found[1] + b" EXAMINE" + found[3] + b"\r\n"
                self.seen.folder = unquoted(found[3].strip())
                self.seen.in_folder = 0
            self._bye |= verb == b"LOGOUT"
            if self._asked <= self._heard:  # the first that is not answered yet
                self._asked = loop.time()
            self._remote.writer.write(line)
            await self._remote.writer.drain()

    async def _downwards(self, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                line = await self._remote.reader.readuntil(b"\r\n")
                self._heard = loop.time()
                writer.write(line)
                if found := _LITERAL.search(line):
                    await self._literal(writer, int(found[1]), bool(_BODY.search(line)))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError, asyncio.LimitOverrunError):
            self.seen.lost = not self._bye and not writer.is_closing()

    async def _literal(self, writer: asyncio.StreamWriter, size: int, body: bool) -> None:
        rest = size
        while rest:
            chunk = await self._remote.reader.read(min(rest, _CHUNK))
            if not chunk:
                raise asyncio.IncompleteReadError(b"", rest)
            writer.write(chunk)
            await writer.drain()
            self._heard = asyncio.get_running_loop().time()
            rest -= len(chunk)
        if body:
            self.seen.messages += 1
            self.seen.in_folder += 1
            self.seen.bytes += size

    async def _watch(self) -> None:
        """Ends when the remote side has been asked, and says nothing."""
        loop = asyncio.get_running_loop()
        while self._asked <= self._heard or loop.time() - self._asked < SILENCE:  # noqa: ASYNC110 - time passing is no event
            await asyncio.sleep(SILENCE / 12)
        self.seen.hung = True
