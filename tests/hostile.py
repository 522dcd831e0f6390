"""A remote side that is not what it should be: an IMAP server that says what a test wants.

    async with Hostile(LIST=b"* LIST () NIL x\\r\\nTAG OK\\r\\n") as server:
        server.job()            # fields of a job that fetches from it
        server.got              # commands, without their tags
        server.turns            # how often it had to wait for one: round trips

An answer is octets, where TAG is the command's tag, or a coroutine function of tag, rest, writer.
What is not given is answered as by a server with an empty INBOX.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self

from mailapi.syncrunner.remote import Rules

HOST = "127.0.0.1"
RULES = Rules(True, True, ssl.create_default_context())
Said = bytes | Callable[[bytes, bytes, asyncio.StreamWriter], Awaitable[None]]
PLAIN: dict[str, bytes] = {
    "CAPABILITY": b"* CAPABILITY IMAP4rev1\r\n",
    "LIST": b'* LIST () "/" INBOX\r\n',
    "STATUS": b"* STATUS INBOX (MESSAGES 0)\r\n",
    "EXAMINE": b"* FLAGS (\\Seen)\r\n* 0 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n"
    b"* OK [UIDNEXT 1] x\r\n",
    "LOGOUT": b"* BYE\r\n",
}


class Hostile:
    def __init__(self, greeting: bytes = b"* OK hi\r\n", **said: Said) -> None:
        self._greeting, self._said = greeting, said
        self.got: list[bytes] = []
        self.turns = 0
        self._tasks: set[asyncio.Task[None] | None] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._client, HOST, 0, limit=1 << 20)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*filter(None, self._tasks), return_exceptions=True)

    def job(self, **fields: Any) -> dict[str, Any]:
        job = {"host1": HOST, "port1": self.port, "enc1": "PLAIN", "user1": "u", "password1": "p"}
        return job | {"exclude": []} | fields

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.CancelledError):
            writer.write(self._greeting)
            while True:
                self.turns += b"\n" not in reader._buffer  # type: ignore[attr-defined]
                if not (line := await reader.readline()):
                    break
                tag, _, rest = line.rstrip().partition(b" ")
                self.got.append(rest)
                await self._answer(tag, rest, writer)
                await writer.drain()
                if rest.upper() == b"LOGOUT":
                    break
        writer.transport.abort()

    async def _answer(self, tag: bytes, rest: bytes, writer: asyncio.StreamWriter) -> None:
        verb = rest.split()[0].decode().upper() if rest else ""
        said = self._said.get(verb, PLAIN.get(verb, b"") + b"TAG OK done\r\n")
        if isinstance(said, bytes):
            writer.write(said.replace(b"TAG", tag))
        else:
            await said(tag, rest, writer)
