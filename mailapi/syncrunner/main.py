"""The runner as a process: its configuration, and signals.

await serve(config)     # until SIGTERM or SIGINT
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl

import structlog

from .. import notify
from ..config import Config
from ..errors import ConfigError
from .engine import Place
from .remote import Rules
from .runner import Runner

_log = structlog.get_logger("mailapi.runner")


async def serve(config: Config) -> None:
    """Run sync jobs until SIGTERM or SIGINT. Raise `ConfigError`."""
    sync = config.sync
    if sync.socket is None:
        raise ConfigError("[sync] socket is not set; name the socket for service and runner.")
    rules = Rules(sync.allow_private_hosts, sync.allow_plaintext, ssl.create_default_context())
    place = Place(config.dovecot.mail_home, sync.dovecot, sync.time_limit)
    runner = Runner(str(sync.socket), sync.max_parallel, place, rules)
    task = asyncio.create_task(runner.serve())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _cancel, task)
    _log.info("running", pid=os.getpid())
    async with notify.ready(lambda: not task.done()):
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _cancel(task: asyncio.Task[None]) -> None:
    """Once: who stops a runner again does not keep it from ending its engines."""
    if not task.cancelling():
        task.cancel()
