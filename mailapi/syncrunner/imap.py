"""A session with a server that is not trusted: commands, responses and literals (RFC 3501).

    answer = await session.ask(b"NOOP")         # more than one are sent together
    answer.lines, answer.ok                     # untagged responses; whether the last was OK

What a server says is bounded in lines, octets, literals and time. Raises `SyncFault`, whose text
never holds what was sent.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .faults import SyncFault

ANSWER: Final = 15.0  # seconds for a response
LINE: Final = 1 << 20  # octets of a line, at most
LINES: Final = 40_000  # of all that is said to one `ask`
OCTETS: Final = 4 << 20  # the same
LITERALS: Final = 20  # of a response
QUOTED: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'  # one way to read it, so it costs one look
_LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n$")


@dataclass(frozen=True, slots=True)
class Answer:
    """`text` is the end of the last command: what stands behind its tag."""

    lines: list[bytes]
    text: bytes

    @property
    def ok(self) -> bool:
        return self.text.upper().startswith(b"OK")


class Session:
    """`reader` and `writer` are for the relay once it is logged in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.capabilities: frozenset[str] = frozenset()
        self._number = 0
        self._room = OCTETS

    async def look(self) -> None:
        """What the server can."""
        lines = (await self.ask(b"CAPABILITY")).lines
        words = next((w for w in lines if w.upper().startswith(b"* CAPABILITY")), b"")
        self.capabilities = frozenset(words.decode("ascii", "replace").upper().split()[2:])

    async def ask(self, *commands: bytes, further: bytes | None = None) -> Answer:
        """`further` is sent once, when it is asked for."""
        waiting, text = set(self._send(commands)), b""
        lines: list[bytes] = []
        self._room = OCTETS
        while waiting:
            line = await self.line()
            tag, _, rest = line.partition(b" ")
            if tag in waiting:
                waiting.discard(tag)
                text = rest
            elif tag == b"+" and further is not None:
                self.writer.write(further + b"\r\n")
                further = None
            elif line.upper().startswith(b"* BYE"):
                raise SyncFault("connection_lost")
            elif len(lines) == LINES:
                raise SyncFault("too_much")
            else:
                lines.append(line)
        return Answer(lines, text)

    def _send(self, commands: tuple[bytes, ...]) -> Iterator[bytes]:
        """Their tags."""
        for command in commands:
            self._number += 1
            tag = b"R%d" % self._number
            self.writer.write(tag + b" " + command + b"\r\n")
            yield tag

    async def line(self) -> bytes:
        """A response, literals included as quoted text would be."""
        parts: list[bytes] = []
        async with asyncio.timeout(ANSWER):
            for _ in range(LITERALS):
                piece = self._counted(await self.reader.readuntil(b"\r\n"))
                found = _LITERAL.search(piece)
                if found is None:
                    return b"".join((*parts, piece.removesuffix(b"\r\n")))
                text = await self.reader.readexactly(self._size(found[1]))
                parts += [piece[: found.start()], quoted(text.decode("utf-8", "replace"))]
        raise SyncFault("too_much")

    def _counted(self, data: bytes) -> bytes:
        self._room -= len(data)
        if self._room < 0:
            raise SyncFault("too_much")
        return data

    def _size(self, digits: bytes) -> int:
        """Of a literal that there is room for."""
        size = int(digits[:12])
        self._room -= size
        if self._room < 0:
            raise SyncFault("too_much")
        return size


def quoted(text: str) -> bytes:
    return b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


def unquoted(text: bytes) -> str:
    """What an astring says; a name stays in modified UTF-7."""
    if text[:1] == b'"':
        text = re.sub(rb"\\(.)", rb"\1", text[1:-1])
    return text.decode("utf-8", "replace")
