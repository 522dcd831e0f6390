r"""Between the engine and the remote side: a listener on loopback for one engine of one run.

    async with Relay(remote, seen := Seen()) as relay:
        relay.port, relay.word      # where the engine logs in, see `gate`
        seen                        # messages, bytes and the folder, as they pass

The engine's connection gets the session that is logged in already. Of its commands only those pass
that read, and SELECT goes on as EXAMINE, so the source cannot be changed, whatever the engine does.
With `Young`, the engine does not hear of older messages, but of those that it knows already.
A message is gone only when it is expunged there, so \Deleted does not pass. A message that is not
given, or is larger than `MOST`, is counted. A remote side that says nothing for `SILENCE` seconds
while it is asked for something has hung. Source: RFC 3501, sections 6.3.2 (EXAMINE), 6.4.4 (SEARCH)
and 6.1.3 (LOGOUT, which the engine does not wait for).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from typing import Final

from .gate import Gate, Gathered, first_of
from .imap import Session, quoted, unquoted
from .responses import LITERAL, body, ends, padding, unmarked
from .seen import Seen, Young

SILENCE: Final = 60.0  # seconds
MOST: Final = 128 * 1024 * 1024  # octets of a message
HEADER: Final = 1 << 20  # octets in which a message's header ends
PATIENCE: Final = 5.0  # seconds for the engine to leave
_CHUNK: Final = 1 << 16
_COMMAND = re.compile(rb"(\S+) (UID FETCH|UID SEARCH|\S+)(.*)\r\n", re.IGNORECASE | re.DOTALL)
_READS: Final = {
    *(b"CAPABILITY", b"NOOP", b"CHECK", b"NAMESPACE", b"LIST", b"LSUB", b"STATUS", b"EXAMINE"),
    *(b"SELECT", b"FETCH", b"UID FETCH", b"SEARCH", b"UID SEARCH", b"LOGOUT", b"ENABLE"),
}


class Relay(Gate):
    def __init__(
        self,
        remote: Session,
        seen: Seen,
        folders: Mapping[str, str] | None = None,
        young: Young | None = None,
    ) -> None:
        """`folders`: what the engine calls them, and what the remote side does."""
        super().__init__()
        self.seen = seen
        self._remote, self._folders, self._young = remote, folders or {}, young
        self._open: set[bytes] = set()  # tags that the remote side has not answered
        self._quiet = asyncio.Event()  # there are none
        self._quiet.set()
        self._last = 0.0  # when it said something, or was first asked
        self._ours = False  # the engine is slow: it is not the remote side's turn
        self._leaving = b""  # the tag of LOGOUT

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine, there = Gathered(writer), Gathered(self._remote.writer)
        await first_of(self._upwards(reader, engine, there), self._downwards(engine), self._watch())
        engine.flush()
        if self._leaving:
            await self._farewell(self._leaving, reader, writer)

    async def _upwards(
        self, reader: asyncio.StreamReader, engine: Gathered, there: Gathered
    ) -> None:
        while True:
            line = await reader.readuntil(b"\r\n")
            found = _COMMAND.fullmatch(line)
            if found is None or found[2].upper() not in _READS or line.endswith(b"}\r\n"):
                await self._quiet.wait()  # not in the middle of a message
                engine.write((found[1] if found else b"*") + b" NO [NOPERM] read only\r\n")
            elif found[2].upper() == b"LOGOUT":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE):
                        await self._quiet.wait()
                self._leaving = found[1]
                return
            else:
                await self._ask(there, found[1], found[2].upper(), found[3])

    async def _farewell(
        self, tag: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """The engine waits until it is closed; the remote side would perhaps never do so."""
        writer.write(b"* BYE\r\n" + tag + b" OK done\r\n")
        writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await reader.read()
        self._remote.writer.write(tag + b" LOGOUT\r\n")

    async def _ask(self, there: Gathered, tag: bytes, verb: bytes, rest: bytes) -> None:
        opens = verb in (b"SELECT", b"EXAMINE")
        if opens:
            verb = b"EXAMINE"
            name = unquoted(rest.strip())
            self.seen.folder = self._folders.get(name, name)
            rest = b" " + quoted(self.seen.folder)
            self.seen.in_folder = 0
        self.seen.asked += verb == b"UID FETCH" and b"BODY.PEEK[]" in rest.upper()
        if not self._open:
            self._last = asyncio.get_running_loop().time()
        self._open.add(tag)
        self._quiet.clear()
        there.write(tag + b" " + verb + rest + b"\r\n")
        if self._young and opens:
            there.write(self._young.opening(self.seen.folder or ""))
        await there.drain()

    async def _downwards(self, engine: Gathered) -> None:
        try:
            while True:
                line = await self._line()
                self._open.discard(line.partition(b" ")[0])
                if not self._open:
                    self._quiet.set()
                if self._young and self._young.keeps_back(line):
                    await self._without(line)
                else:
                    await self._response(engine, line)
        except (asyncio.IncompleteReadError, OSError, asyncio.LimitOverrunError):
            self.seen.lost = not engine.closed

    async def _response(self, engine: Gathered, line: bytes) -> None:
        """To the engine, with its literals, but not if it is of a message that is not given."""
        while True:
            line = unmarked(line)
            found = body(line)
            if found and found.text is not None:
                text = found.text + padding(found.text)
                engine.write(found.before + b"BODY[] {%d}\r\n" % len(text) + text)
                self._count(len(text))
                line = found.after
                continue
            if found and (found.size is None or found.size > MOST):
                self.seen.large += found.size is not None
                return await self._without(line)
            if found and found.size is not None:
                await self._message(engine, found.before, found.size)
            else:
                engine.write(line)
                if literal := LITERAL.search(line):
                    await self._copy(engine, int(literal[1]))
            await self._drain(engine)
            if not LITERAL.search(line):
                return None
            line = await self._line()

    async def _message(self, engine: Gathered, before: bytes, size: int) -> None:
        """With the end of its header, where that is missing."""
        head = b""
        while len(head) < min(size, HEADER) and not ends(head):
            head += await self._chunk(size - len(head))
        pad = padding(head) if len(head) == size else b""
        engine.write(before + b"BODY[] {%d}\r\n" % (size + len(pad)) + head)
        await self._copy(engine, size - len(head))
        engine.write(pad)
        self._count(size)

    def _count(self, size: int) -> None:
        self.seen.messages += 1
        self.seen.in_folder += 1
        self.seen.bytes += size

    async def _copy(self, engine: Gathered, rest: int) -> None:
        while rest:
            chunk = await self._chunk(rest)
            engine.write(chunk)
            await self._drain(engine)
            rest -= len(chunk)

    async def _without(self, line: bytes) -> None:
        """Nothing of a response passes."""
        while found := LITERAL.search(line):
            rest = int(found[1])
            while rest:
                rest -= len(await self._chunk(rest))
            line = await self._line()

    async def _line(self) -> bytes:
        line = await self._remote.reader.readuntil(b"\r\n")
        self._last = asyncio.get_running_loop().time()
        return line

    async def _chunk(self, most: int) -> bytes:
        chunk = await self._remote.reader.read(min(most, _CHUNK))
        if not chunk:
            raise asyncio.IncompleteReadError(b"", most)
        self._last = asyncio.get_running_loop().time()
        return chunk

    async def _drain(self, engine: Gathered) -> None:
        self._ours = True
        await engine.drain()
        self._ours = False
        self._last = asyncio.get_running_loop().time()

    async def _watch(self) -> None:
        """Ends when the remote side has been asked, and says nothing."""
        loop = asyncio.get_running_loop()
        while not self._open or self._ours or loop.time() - self._last < SILENCE:  # noqa: ASYNC110 - time passing is no event
            await asyncio.sleep(SILENCE / 12)
        self.seen.hung = True
