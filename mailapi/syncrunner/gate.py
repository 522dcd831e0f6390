"""A listener on loopback for one session of one engine, which has to know a word.

    class Relay(Gate):
        async def _pass(self, reader, writer): ...      # once the engine has logged in

    async with Relay() as gate:
        gate.port, gate.word    # where the engine logs in as `USER`, and its password there

The word is new each time, so no other process of this host gets to the session behind. Source:
RFC 3501, sections 6.1 and 6.2.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self

from .imap import LINE

USER: Final = "mailapi"
MUCH: Final = 1 << 16  # octets that are gathered at most


class Gate:
    """Use with `async with`; takes one connection that knows the word, and no other."""

    def __init__(self, capabilities: str = "IMAP4rev1") -> None:
        self.word = secrets.token_urlsafe(24)
        self._capabilities = capabilities.encode()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._taken = False

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

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        try:
            if await self._admitted(reader, writer) and not self._taken:
                self._taken = True
                await self._pass(reader, writer)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # the session is over; it is cancelled by `__aexit__` only
        finally:
            writer.transport.abort()

    async def _admitted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether it logs in with the word; all else is answered until then."""
        writer.write(b"* OK [CAPABILITY " + self._capabilities + b"] mailapi\r\n")
        for _ in range(10):
            async with asyncio.timeout(10):
                line = await reader.readuntil(b"\r\n")
            tag, _, rest = line.strip().partition(b" ")
            if rest.upper() == b"CAPABILITY":
                writer.write(
                    b"* CAPABILITY " + self._capabilities + b"\r\n" + tag + b" OK done\r\n"
                )
            elif rest.upper().startswith(b"LOGIN "):
                given = rest[6:].replace(b'"', b"")
                if hmac.compare_digest(given, f"{USER} {self.word}".encode()):
                    writer.write(tag + b" OK done\r\n")
                    return True
                writer.write(tag + b" NO no\r\n")
            else:
                writer.write(tag + b" BAD log in\r\n")
        return False


class Gathered:
    """Writes once all that comes without a pause; a write costs more than what is written."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def closed(self) -> bool:
        return self._writer.is_closing()

    def write(self, data: bytes) -> None:
        if not self._parts:
            asyncio.get_running_loop().call_soon(self.flush)  # as soon as a task waits
        self._parts.append(data)
        self._size += len(data)

    def flush(self) -> None:
        if self._parts and not self.closed:
            self._writer.writelines(self._parts)
        self._parts, self._size = [], 0

    async def drain(self) -> None:
        if self._size > MUCH:
            self.flush()
        await self._writer.drain()


async def first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Do all of them until one has ended, and raise what it raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
