"""A remote side that misbehaves: an IMAP server of one folder, INBOX, that says what it is told to.

    async with FakeImap({1: message, 2: message}) as fake:
        fake.port
        fake.answers[2] = b"TAG NO [SERVERBUG] later\\r\\n"  # instead of message 2

It takes any log-in, and never closes a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

DATE = b'INTERNALDATE "17-Jul-1996 02:44:25 -0700"'


class FakeImap:
    def __init__(self, messages: dict[int, bytes]) -> None:
        self.messages = messages
        self.folders = 1  # how often INBOX is listed
        self.answers: dict[int, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writer.write(b"* OK hello\r\n")
        with contextlib.suppress(OSError), contextlib.closing(writer.transport):
            while line := await reader.readline():
                tag, _, rest = line.strip().partition(b" ")
                for part in self._answer(tag, rest.upper()):
                    writer.write(part)
                    await writer.drain()
            await asyncio.Event().wait()

    def _answer(self, tag: bytes, rest: bytes) -> list[bytes]:
        done = tag + b" OK done\r\n"
        verb = rest.split()[0]
        if verb == b"STATUS":
            return [b"* STATUS INBOX (MESSAGES %d)\r\n" % len(self.messages), done]
        if verb == b"EXAMINE":
            exists = b"* %d EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n" % len(self.messages)
            return [exists, b"* OK [UIDNEXT %d] x\r\n" % (max(self.messages) + 1), done]
        if b"BODY" in rest:
            return self._body(int(rest.split()[2]), tag, done)
        if rest.startswith(b"UID FETCH"):
            return [*(b"* %d FETCH (UID %d FLAGS ())\r\n" % (n, n) for n in self.messages), done]
        lines = {b"CAPABILITY": b"* CAPABILITY IMAP4rev1\r\n"}
        lines[b"LIST"] = self.folders * b'* LIST () "/" INBOX\r\n'
        return [lines.get(verb, b""), done]

    def _body(self, uid: int, tag: bytes, done: bytes) -> list[bytes]:
        if uid in self.answers:
            return [self.answers[uid].replace(b"TAG", tag)]
        text = self.messages[uid]
        head = b"* %d FETCH (UID %d FLAGS () %s BODY[] {%d}\r\n" % (uid, uid, DATE, len(text))
        return [head, text, b")\r\n", done]
