"""Between the engine and the remote side: a listener on loopback for one engine of one run.

    async with Relay(remote, seen := Seen()) as relay:
        relay.port, relay.word      # where the engine logs in, see `gate`
        seen                        # messages, bytes and the folder, as they pass

The engine's connection gets the session that is logged in already. Of its commands only those pass
that read, and SELECT goes on as EXAMINE, so the source cannot be changed, whatever the engine does.
With `Young`, the engine does not hear of older messages, but of those that it knows already.
A remote side that says nothing for `SILENCE` seconds while it is asked for something has hung.
Source: RFC 3501, sections 4.3 (literals), 6.3.2 (EXAMINE), 6.4.4 (SEARCH) and 7.4.2 (FETCH).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from typing import Final

from .gate import Gate, first_of
from .imap import Session, unquoted

SILENCE: Final = 60.0  # seconds
_CHUNK: Final = 1 << 16
_SEARCH: Final = b"YOUNG"  # a tag that is no engine's
_COMMAND = re.compile(rb"(\S+) (UID FETCH|UID SEARCH|\S+)(.*)\r\n", re.IGNORECASE | re.DOTALL)
_READS: Final = {
    *(b"CAPABILITY", b"NOOP", b"CHECK", b"NAMESPACE", b"LIST", b"LSUB", b"STATUS", b"EXAMINE"),
    *(b"SELECT", b"FETCH", b"UID FETCH", b"SEARCH", b"UID SEARCH", b"LOGOUT", b"ENABLE"),
}
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"
_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")
_UID = re.compile(rb"\* \d+ FETCH .*\bUID (\d+)", re.IGNORECASE)
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


@dataclass(frozen=True, slots=True)
class Young:
    """Messages that arrived on `since` or later; UIDs that are `known` of a folder on the wire."""

    since: date
    known: Callable[[str], Collection[int]]

    @property
    def command(self) -> bytes:
        month = _MONTHS[self.since.month * 3 - 3 : self.since.month * 3]
        when = f"{self.since.day}-{month}-{self.since.year:04}"
        return _SEARCH + f" UID SEARCH SINCE {when}\r\n".encode()


class Relay(Gate):
    def __init__(self, remote: Session, seen: Seen, young: Young | None = None) -> None:
        super().__init__()
        self.seen = seen
        self._remote, self._young = remote, young
        self._shown: set[int] = set()
        self._bye = False
        self._open: set[bytes] = set()  # tags that the remote side has not answered
        self._last = 0.0  # when it said something, or was first asked
        self._ours = False  # the engine is slow: it is not the remote side's turn

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await first_of(self._upwards(reader, writer), self._downwards(writer), self._watch())

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
            if not self._open:
                self._last = loop.time()
            self._open.add(found[1])
            self._remote.writer.write(line)
            if self._young and verb in (b"SELECT", b"EXAMINE"):
                self._shown = set(self._young.known(self.seen.folder or ""))
                self._remote.writer.write(self._young.command)
            await self._remote.writer.drain()

    async def _downwards(self, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                line = await self._remote.reader.readuntil(b"\r\n")
                self._last = asyncio.get_running_loop().time()
                self._open.discard(line.partition(b" ")[0])
                if self._young and self._kept_back(line):
                    continue
                writer.write(line)
                if found := _LITERAL.search(line):
                    await self._literal(writer, int(found[1]), bool(_BODY.search(line)))
                await self._drain(writer)
        except (asyncio.IncompleteReadError, OSError, asyncio.LimitOverrunError):
            self.seen.lost = not self._bye and not writer.is_closing()

    def _kept_back(self, line: bytes) -> bool:
        """The answer to our own question, and messages that are too old."""
        if line.startswith(_SEARCH):
            if not line[len(_SEARCH) :].upper().startswith(b" OK"):
                raise ConnectionError("the remote side cannot search")
            return True
        if line.upper().startswith(b"* SEARCH"):
            self._shown |= {int(word) for word in line.split()[2:] if word.isdigit()}
            return True
        found = _UID.match(line)
        return found is not None and int(found[1]) not in self._shown

    async def _literal(self, writer: asyncio.StreamWriter, size: int, body: bool) -> None:
        rest = size
        while rest:
            chunk = await self._remote.reader.read(min(rest, _CHUNK))
            if not chunk:
                raise asyncio.IncompleteReadError(b"", rest)
            writer.write(chunk)
            await self._drain(writer)
            rest -= len(chunk)
        if body:
            self.seen.messages += 1
            self.seen.in_folder += 1
            self.seen.bytes += size

    async def _drain(self, writer: asyncio.StreamWriter) -> None:
        self._ours = True
        await writer.drain()
        self._ours = False
        self._last = asyncio.get_running_loop().time()

    async def _watch(self) -> None:
        """Ends when the remote side has been asked, and says nothing."""
        loop = asyncio.get_running_loop()
        while not self._open or self._ours or loop.time() - self._last < SILENCE:  # noqa: ASYNC110 - time passing is no event
            await asyncio.sleep(SILENCE / 12)
        self.seen.hung = True
