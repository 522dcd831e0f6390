"""A line between a runner and a remote side, which can be slow, go silent, or be cut.

async with Line(remote.port) as line:
    line.port               # in place of the remote side's
    line.room = 1_000_000   # octets from the remote side until it goes silent; None: no end
    line.rate = 500_000     # octets a second; None: as they come
    await line.silent()     # until that much has passed
    await line.passes(1000) # until so many octets more have
    line.cut()              # all connections, in the middle of what they say
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

CHUNK = 4096


class Line:
    def __init__(self, port: int) -> None:
        self._to = port
        self.room: int | None = None
        self.rate: int | None = None
        self._passed = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def silent(self) -> None:
        async with asyncio.timeout(20):
            while self.room != 0:
                await asyncio.sleep(0.005)

    async def passes(self, octets: int) -> None:
        until = self._passed + octets
        async with asyncio.timeout(20):
            while self._passed < until:
                await asyncio.sleep(0.001)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, far_writer}
        both = (self._up(reader, far_writer), self._down(far_reader, writer))
        tasks = [asyncio.create_task(one) for one in both]
        self._tasks |= set(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for one in (writer, far_writer):
            one.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                while self.room == 0:
                    await asyncio.sleep(0.005)
                if self.room is not None:
                    self.room = max(0, self.room - len(data))
                if self.rate is not None:
                    await asyncio.sleep(len(data) / self.rate)
                self._passed += len(data)
                writer.write(data)
                await writer.drain()
