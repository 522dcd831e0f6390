r"""Between the engine and Dovecot's imap program, which stores: many messages in one transaction.

    async with Near(command, environment, {"alias": "Old/Work"}) as near:
        near.port, near.word    # where the engine logs in, see `gate`
    near.said                   # the last that the program has told about itself
    near.refused, near.full     # messages that were not taken, and whether for want of room
    near.opened                 # which folders there are not

The engine sends one APPEND a message and waits for none of them. Dovecot's imap does one after the
other, and each costs it a look at the whole folder. So what has come while it was busy goes to it
as one APPEND, and each is answered as if it had come alone, see `append`. Where the whole is
refused, each is tried alone; a large message goes through as it comes.

What the engine marks as \Deleted is expunged at once, and nothing else ever: messages that others
have marked look to the engine as if they were not. The program's process group ends with the
`async with`.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from . import process
from .append import APPEND, SIZE, Append, answers, command, taken_together
from .faults import SyncFault
from .gate import Gate, first_of
from .opened import Opened
from .responses import LITERAL, unmarked

START: Final = 15.0  # seconds until the program greets
_CHUNK: Final = 1 << 16
_MARK = re.compile(
    rb"\S+ UID STORE (\S+) \+FLAGS(?:\.SILENT)? \([^)]*\\Deleted\b.*\r\n", re.IGNORECASE
)
_ASK: Final = b"ASK"  # tags that are no engine's
_EXPUNGE: Final = b"EXPUNGE"
_GREETING = re.compile(rb"\* PREAUTH \[CAPABILITY ([^\]]*)\]")


class Near(Gate):
    """Raise `SyncFault` (local_failed) where the program does not start."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folders: Mapping[str, str]
    ) -> None:
        """`folders`: what the engine calls them, and their names here, with /."""
        super().__init__()
        self._command, self._environment = command, environment
        self.said = ""
        self.refused, self.full = 0, False
        self.opened = Opened(folders)
        self._waiting: deque[Append] = deque()
        self._size = 0  # octets of what waits
        self._news, self._idle, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._answer: asyncio.Future[bytes] | None = None
        self._number = 0

    async def __aenter__(self) -> Self:
        self._imap = await process.start(self._command, self._environment, pipe=True)
        self._errors = process.Tail(self._imap.stderr)
        try:
            self._capabilities = await self._greeting()
            self.opened.learn(await self._namespace())
            return await super().__aenter__()
        except (TimeoutError, EOFError):
            await self._end()
            raise SyncFault("local_failed", self.said) from None
        except BaseException:
            await self._end()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, trace)
        await self._end()

    async def _end(self) -> None:
        await process.end(self._imap)
        self.said = await self._errors.end()

    async def _greeting(self) -> bytes:
        """What the program can; it greets a user that it knows."""
        try:
            async with asyncio.timeout(START):
                line = await self._out.readuntil(b"\r\n")
        except (TimeoutError, asyncio.IncompleteReadError):
            line = b""
        if found := _GREETING.match(line):
            return found[1]
        await self._end()
        raise SyncFault("local_failed", self.said)

    async def _namespace(self) -> bytes:
        await self._send(_ASK + b" NAMESPACE\r\n")
        lines = b""
        async with asyncio.timeout(START):
            while not (line := await self._out.readuntil(b"\r\n")).startswith(_ASK):
                lines += line
        return lines

    @property
    def _out(self) -> asyncio.StreamReader:
        assert self._imap.stdout is not None  # noqa: S101 - a pipe
        return self._imap.stdout

    async def _send(self, *data: bytes) -> None:
        assert self._imap.stdin is not None  # noqa: S101 - a pipe
        self._imap.stdin.writelines(data)
        await self._imap.stdin.drain()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await first_of(self._inwards(reader, writer), self._storing(writer), self._back(writer))

    async def _inwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Commands: messages wait in the queue, all else waits until that is empty."""
        while True:
            line = self.opened.named(await reader.readuntil(b"\r\n"))
            found = APPEND.fullmatch(line)
            if found is None:
                await self._idle.wait()
                await self._one(reader, line)
                continue
            if not found[5]:
                writer.write(b"+ go on\r\n")
            if int(found[4]) > SIZE:
                await self._idle.wait()
                answer = await self._streamed(reader, found[2] + found[3], int(found[4]))
                writer.write(found[1] + b" " + answer)
                continue
            data = await reader.readexactly(int(found[4]))
            await reader.readuntil(b"\r\n")
            self._waiting.append(Append(found[1], found[2], found[3], data))
            self._size += len(data)
            self._idle.clear()
            self._news.set()
            while self._size > SIZE:
                self._room.clear()
                await self._room.wait()

    async def _one(self, reader: asyncio.StreamReader, line: bytes) -> None:
        await self._send(line)
        await self._literals(reader, line)
        if found := _MARK.fullmatch(line):
            await self._send(_EXPUNGE + b" UID EXPUNGE " + found[1] + b"\r\n")

    async def _streamed(self, reader: asyncio.StreamReader, box: bytes, rest: int) -> bytes:
        answer = self._expected()
        await self._send(b"N%d %s{%d+}\r\n" % (self._number, box, rest))
        while rest:
            chunk = await reader.read(min(rest, _CHUNK))
            if not chunk:
                raise asyncio.IncompleteReadError(b"", rest)
            await self._send(chunk)
            rest -= len(chunk)
        await self._send(await reader.readuntil(b"\r\n"))
        return self._judged(await answer)

    async def _literals(self, reader: asyncio.StreamReader, line: bytes) -> None:
        """The rest of a command that has a literal; the program itself asks for it if need be."""
        while found := LITERAL.search(line):
            await self._send(await reader.readexactly(int(found[1])))
            line = await reader.readuntil(b"\r\n")
            await self._send(line)

    async def _storing(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._news.wait()
            while self._waiting:
                group = taken_together(self._waiting)
                self._size -= sum(len(one.data) for one in group)
                self._room.set()
                answer = await self._stored(group)
                if len(group) > 1 and not answer.startswith(b"OK"):
                    for one in group:
                        writer.write(one.tag + b" " + self._judged(await self._stored([one])))
                else:
                    writer.writelines(answers(group, self._judged(answer)))
                await writer.drain()
            self._news.clear()
            self._idle.set()

    async def _stored(self, group: Sequence[Append]) -> bytes:
        """The answer behind the tag."""
        answer = self._expected()
        await self._send(*command(b"N%d" % self._number, group))
        return await answer

    def _expected(self) -> asyncio.Future[bytes]:
        """The answer to the next number."""
        self._number += 1
        self._answer = asyncio.get_running_loop().create_future()
        return self._answer

    def _judged(self, answer: bytes) -> bytes:
        if not answer.upper().startswith(b"OK"):
            self.refused += 1
            self.full |= b"[OVERQUOTA]" in answer.upper()
        return answer

    async def _back(self, writer: asyncio.StreamWriter) -> None:
        """Answers; those to APPEND are for `_expected`."""
        while True:
            line = await self._out.readuntil(b"\r\n")
            tag, _, rest = line.partition(b" ")
            if self._answer is not None and tag == b"N%d" % self._number:
                self._answer.set_result(rest)
                self._answer = None
            elif tag != _EXPUNGE:
                self.opened.answered(tag, rest)
                await self._response(writer, line)

    async def _response(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        """Whole, for answers to APPEND are written beside it."""
        parts = [unmarked(line)]
        while found := LITERAL.search(line):
            parts.append(await self._out.readexactly(int(found[1])))
            line = await self._out.readuntil(b"\r\n")
            parts.append(unmarked(line))
        writer.writelines(parts)
        await writer.drain()
