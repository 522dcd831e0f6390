"""Between the engine and Dovecot's imap program, which stores: many messages in one transaction.

    async with Near(command, environment) as near:
        near.port, near.word    # where the engine logs in, see `gate`
    near.said                   # the last that the program has told about itself

The engine sends one APPEND a message and waits for none of them. Dovecot's imap does one after the
other, and each costs it a look at the whole folder. So what has come while it was busy goes to it
as one APPEND (MULTIAPPEND, RFC 3502), and each is answered as if it had come alone (APPENDUID,
RFC 4315). Where the whole is refused, each is tried alone. The program's process group ends with
the `async with`.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from . import process
from .faults import SyncFault
from .gate import Gate, first_of

MOST: Final = 200  # messages of one transaction
SIZE: Final = 8 * 1024 * 1024  # octets of one transaction, and of what waits
START: Final = 15.0  # seconds until the program greets
_APPEND = re.compile(rb'(\S+) (APPEND (?:"(?:\\.|[^"\\])*"|\S+))( .*)\{(\d+)(\+?)\}\r\n', re.DOTALL)
_LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r\n$")
_UIDS = re.compile(rb"\[APPENDUID (\d+) ([\d:,]+)\]", re.IGNORECASE)
_GREETING = re.compile(rb"\* PREAUTH \[CAPABILITY ([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Append:
    """A message to store: `box` is the command with the folder, `how` its flags and date."""

    tag: bytes
    box: bytes
    how: bytes
    data: bytes


class Near(Gate):
    """Raise `SyncFault` (local_failed) where the program does not start."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        super().__init__()
        self._command, self._environment = command, environment
        self.said = ""
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
            return await super().__aenter__()
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
            line = await reader.readuntil(b"\r\n")
            found = _APPEND.fullmatch(line)
            if found is None:
                await self._idle.wait()
                await self._send(line)
                await self._literals(reader, line)
                continue
            if not found[5]:
                writer.write(b"+ go on\r\n")
            data = await reader.readexactly(int(found[4]))
            await reader.readuntil(b"\r\n")
            self._waiting.append(Append(found[1], found[2], found[3], data))
            self._size += len(data)
            self._idle.clear()
            self._news.set()
            while self._size > SIZE:
                self._room.clear()
                await self._room.wait()

    async def _literals(self, reader: asyncio.StreamReader, line: bytes) -> None:
        """The rest of a command that has a literal; the program itself asks for it if need be."""
        while found := _LITERAL.search(line):
            await self._send(await reader.readexactly(int(found[1])))
            line = await reader.readuntil(b"\r\n")
            await self._send(line)

    async def _storing(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._news.wait()
            while self._waiting:
                group = self._taken_together()
                self._size -= sum(len(one.data) for one in group)
                self._room.set()
                answer = await self._stored(group)
                if len(group) > 1 and not answer.startswith(b"OK"):
                    for one in group:
                        writer.write(one.tag + b" " + await self._stored([one]))
                else:
                    writer.writelines(_answers(group, answer))
                await writer.drain()
            self._news.clear()
            self._idle.set()

    def _taken_together(self) -> list[Append]:
        group = [self._waiting.popleft()]
        size = len(group[0].data)
        while self._waiting and self._waiting[0].box == group[0].box and len(group) < MOST:
            size += len(self._waiting[0].data)
            if size > SIZE:
                break
            group.append(self._waiting.popleft())
        return group

    async def _stored(self, group: Sequence[Append]) -> bytes:
        """The answer behind the tag."""
        self._number += 1
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answer = answer
        parts = [b"N%d " % self._number, group[0].box]
        for one in group:
            parts += [one.how, b"{%d+}\r\n" % len(one.data), one.data]
        await self._send(*parts, b"\r\n")
        return await answer

    async def _back(self, writer: asyncio.StreamWriter) -> None:
        """Answers; those to APPEND are for `_stored`."""
        while True:
            line = await self._out.readuntil(b"\r\n")
            tag, _, rest = line.partition(b" ")
            if self._answer is not None and tag == b"N%d" % self._number:
                self._answer.set_result(rest)
                self._answer = None
                continue
            writer.write(line)
            while found := _LITERAL.search(line):
                writer.write(await self._out.readexactly(int(found[1])))
                line = await self._out.readuntil(b"\r\n")
                writer.write(line)
            await writer.drain()


def _answers(group: Sequence[Append], answer: bytes) -> list[bytes]:
    """One for each; with its UID, if the program told them."""
    found = _UIDS.search(answer)
    if not found or len(group) == 1:
        return [one.tag + b" " + answer for one in group]
    uids = _numbers(found[2])
    return [
        b"%s OK [APPENDUID %s %d] done\r\n" % (one.tag, found[1], uid)
        for one, uid in zip(group, uids, strict=True)
    ]


def _numbers(text: bytes) -> list[int]:
    """All of a set of numbers (RFC 3501, sequence-set) that says nothing of *."""
    numbers: list[int] = []
    for part in text.split(b","):
        first, _, last = part.partition(b":")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
