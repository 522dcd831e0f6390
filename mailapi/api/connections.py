"""Connections: none stays open for a client that is slow or idle, nor more than the service bears.

    runner = Runner(app, most_connections())    # in place of aiohttp's AppRunner

aiohttp itself hangs up on who sends no whole head within its keep-alive time, and on who goes on
with a body that nobody reads after its lingering time; `writes.received` limits the bodies that are
read. What aiohttp has no setting for is added here: a client that does not take its answer is cut
off, and connections over TCP beyond the most are closed at once. The kernel's limit of open files
is above that, so files for the mail servers can be written whatever the network does.
"""

from __future__ import annotations

import asyncio
import resource
import time
from typing import Any, Final, cast

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

IDLE: Final = 12.0  # seconds until the head of a request is there, from the last answer on
LINGER: Final = 2.0  # seconds for a body behind its answer
STALLED: Final = 25.0  # seconds until an answer has been taken
FILES: Final = 8192  # open files that are asked for
RESERVED: Final = 128  # of these, for all that is no connection
_log = structlog.get_logger("mailapi.http")


def most_connections() -> int:
    """How many can be borne; raises the process's limit of open files as far as is useful."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wished = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wished:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wished, hard))
    return max(1, wished - RESERVED)


class Runner(web.AppRunner):
    """aiohttp's, with connections of ours; at most so many over TCP."""

    def __init__(self, app: web.Application, most: int, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self._most = most

    async def _make_server(self) -> web.Server:
        """aiohttp's extension point: start the application, and serve it."""
        made = await super()._make_server()
        return Server(made, self._most)


class Server(web.Server):
    """Makes a `Connection` for each client; `count` are those that are open."""

    def __init__(self, made: web.Server, most: int) -> None:
        super().__init__(
            made.request_handler,
            request_factory=made.request_factory,
            access_log=None,
            keepalive_timeout=IDLE,
            lingering_time=LINGER,
        )
        self.most = most
        self.count = 0
        self._told = -60.0

    def __call__(self) -> RequestHandler:
        return Connection(self, self._loop)

    def full(self) -> bool:
        """Whether one connection is too many; told once a minute."""
        if self.count <= self.most:
            return False
        if time.monotonic() > self._told + 60:
            self._told = time.monotonic()
            _log.warning("too many connections; new ones are closed", most=self.most)
        return True


class Connection(RequestHandler):
    """One client."""

    __slots__ = ("_own", "_server", "_stall")

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop=loop, **server._kwargs)
        self._server = server
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Administrators, over a Unix socket, get in when the network is full."""
        self._server.count += 1
        self._own = cast(asyncio.Transport, transport)
        if self._server.full() and isinstance(transport.get_extra_info("sockname"), tuple):
            self._own.abort()
            return
        self._own.set_write_buffer_limits(high=0)  # so that any rest of an answer is noticed
        super().connection_made(transport)

    def pause_writing(self) -> None:
        """What was sent is more than the kernel takes: the client must read now."""
        super().pause_writing()
        self._stall = self._loop.call_later(STALLED, self._own.abort)

    def resume_writing(self) -> None:
        """All of it has been sent."""
        super().resume_writing()
        self._calm()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.count -= 1
        self._calm()
        super().connection_lost(exc)

    def _calm(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
