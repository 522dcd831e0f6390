"""Wiring: the configuration becomes a running service, and a running service ends in order.

    app = create(config)            # an aiohttp application; everything opens when it starts
    await serve(config, force)      # until SIGTERM or SIGINT

Starting takes the lock of the state directory, migrates the database, makes the files what it says
and only then answers. Ending lets requests under way finish, then the writer, then the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from . import notify, schema
from .api import peer, syncrunner
from .api.auth import KeyRing
from .api.connections import Runner, most_connections
from .api.context import CONTEXT, Context
from .api.middleware import add_headers, outermost
from .api.ratelimit import RateLimit
from .api.routes import routes
from .apply import Writer
from .config import Config
from .database import Connection, Reader
from .errors import ConfigError, StateError
from .files import InstanceLock
from .hook import Hook
from .hooksocket import SocketHook
from .live import Live
from .metrics import Metrics
from .passwords import Hasher
from .publish import Publisher
from .render import Renderer
from .secretbox import Secretbox
from .service import Changes
from .syncdesk import Desk
from .syncplans import SyncPlans
from .userdb import Userdb
from .web import routes as pages

LARGEST: Final = 8 * 1024 * 1024  # octets of a request's body
BACKLOG: Final = 4096  # connections that wait to be accepted; the kernel's own most, as a rule
GRACE: Final = 25.0  # seconds that requests under way have to finish
_log = structlog.get_logger("mailapi")


def create(config: Config, force: bool = False) -> web.Application:
    """The application; `force` lets it drop most of a map's entries at the start."""
    app = web.Application(middlewares=[outermost], client_max_size=LARGEST)
    app.on_response_prepare.append(add_headers)
    app.add_routes(routes())
    pages.install(app, config)

    async def running(app: web.Application) -> AsyncIterator[None]:
        async with context(config, force) as parts:
            app[CONTEXT] = parts
            yield

    async def stopping(app: web.Application) -> None:
        app[CONTEXT].writer.rounds.release()

    app.cleanup_ctx.append(running)
    app.on_shutdown.append(stopping)
    return app


@contextlib.asynccontextmanager
async def context(config: Config, force: bool = False) -> AsyncIterator[Context]:
    """All parts of the service, started; closed at the end.

    Raise `AlreadyRunning`, `ConfigError`, `StateError`, `ShrunkenMap`.
    """
    path = database(config)
    with InstanceLock(config.state.directory):
        connection, reader = Connection(path), Reader(path)
        hasher = Hasher(config.passwords.bcrypt_rounds)
        writer, live = _writer(config, connection)
        box = Secretbox(config.sync.key_file)
        desk = Desk(writer, reader, box)
        try:
            await _open(connection, reader, path)
            await writer.start(force)
            desk.start()
            yield _context(config, writer, reader, hasher, desk, box)
        finally:
            await desk.close()
            await writer.close()
            await live.close()
            hasher.close()
            await reader.close()
            await connection.close()


def database(config: Config) -> Path:
    """Where the state is; its directory is made if it is missing. Raise `ConfigError`."""
    try:
        config.state.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"[state] directory cannot be made: {error.strerror}.") from error
    return config.state.directory / "mailapi.db"


async def serve(config: Config, force: bool = False) -> None:
    """Answer requests until SIGTERM or SIGINT."""
    runner = Runner(create(config, force), most_connections(), shutdown_timeout=GRACE)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await runner.setup()
        where = await listen(runner, config)
        _log.info("serving", where=where)
        async with (
            _runner_socket(config, runner.app),
            notify.ready(lambda: runner.app[CONTEXT].writer.alive),
        ):
            await stop.wait()
        _log.info("stopping")
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _runner_socket(config: Config, app: web.Application) -> AsyncIterator[None]:
    """Answer the sync runner on [sync] socket, if there is one. Raise `ConfigError`."""
    path = config.sync.socket
    if path is None:
        yield
        return
    own = web.AppRunner(
        syncrunner.application(app[CONTEXT].desk, config.sync.user),
        access_log=None,
        shutdown_timeout=1,
        handler_cancellation=True,  # who has gone gets no work
    )
    await own.setup()
    try:
        try:
            await web.UnixSite(own, str(path)).start()
            path.chmod(0o666)  # who is answered is decided for each request
        except OSError as error:
            raise ConfigError(f"[sync] socket cannot be used: {error.strerror}.") from error
        yield
    finally:
        await own.cleanup()


async def listen(runner: web.AppRunner, config: Config) -> str:
    """Open the sockets of [server]; return where clients reach the API. Raise `ConfigError`."""
    server = config.server
    try:
        if (given := notify.listening()) is not None:
            await web.SockSite(runner, given, backlog=BACKLOG).start()
            where = "the socket that systemd opened"
        elif server.socket is not None:
            await web.UnixSite(runner, str(server.socket), backlog=BACKLOG).start()
            server.socket.chmod(0o660)  # for its group, whatever the umask
            where = str(server.socket)
        else:
            await web.TCPSite(runner, server.host, server.port, backlog=BACKLOG).start()
            where = f"http://{server.host}:{runner.addresses[0][1]}/api/v1"
        if server.admin_socket is not None:
            await web.UnixSite(runner, str(server.admin_socket)).start()
            peer.restrict(server.admin_socket)
    except OSError as error:
        raise ConfigError(f"[server] cannot listen: {error.strerror or error}.") from error
    return where


async def _open(connection: Connection, reader: Reader, path: Path) -> None:
    try:
        await connection.open()
        await connection.run(lambda db: schema.migrate(db, path))
        await reader.open()
    except sqlite3.Error as error:
        raise StateError(
            "The database cannot be opened: it is damaged, or not the service's user's; "
            "restore a backup."
        ) from error


def _writer(config: Config, connection: Connection) -> tuple[Writer, Live]:
    dovecot, postfix = config.dovecot, config.postfix
    asks = dovecot.userdb_socket is not None and dovecot.look_interval > 0
    userdb = Userdb(dovecot.userdb_socket) if dovecot.userdb_socket and asks else None
    live = Live(userdb, dovecot.look_interval)
    publisher = Publisher(postfix.directory, dovecot.directory, postfix.map_type)
    reload = config.reload
    hook = (
        SocketHook(reload.socket, reload.timeout)
        if reload.socket
        else Hook(reload.command, reload.timeout)
    )
    return Writer(connection, publisher, Renderer(), hook, live, postfix.map_type), live


def _context(
    config: Config, writer: Writer, reader: Reader, hasher: Hasher, desk: Desk, box: Secretbox
) -> Context:
    limit, numbers = config.rate_limit, Metrics()
    numbers.watch("generation", "The wished state", lambda: writer.rounds.generation)
    numbers.watch("applied_generation", "Live", lambda: writer.rounds.applied_generation)
    numbers.watch(
        "failures_total", "Publishes and hooks that failed", lambda: writer.rounds.failures
    )
    numbers.watch("batches_total", "Transactions", lambda: writer.batches)
    numbers.watch("jobs_total", "Requests in these", lambda: writer.jobs)
    changes = Changes(
        config.server.hostname,
        config.dovecot.mail_home,
        config.passwords.min_length,
        hasher,
        SyncPlans(config.sync, box),
    )
    return Context(
        writer,
        reader,
        changes,
        KeyRing(reader),
        RateLimit(limit.requests, limit.period, limit.auth_failures),
        numbers,
        desk,
        config.server.trusted_proxies,
        config.server.admin_socket,
    )
