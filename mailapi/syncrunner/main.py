"""The runner as a process: its configuration, its user, signals, and what others left behind.

await serve(config)     # until SIGTERM or SIGINT
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import ssl
import stat
import tempfile
from pathlib import Path

import structlog

from .. import notify
from ..config import Config
from ..errors import ConfigError
from . import engine
from .engine import Place
from .remote import Rules
from .runner import Runner

_log = structlog.get_logger("mailapi.runner")


async def serve(config: Config) -> None:
    """Run sync jobs until SIGTERM or SIGINT. Raise `ConfigError`."""
    sync = config.sync
    if sync.socket is None:
        raise ConfigError("[sync] socket is not set; name the socket for service and runner.")
    check_user(sync.user)
    remove_stale()
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


def check_user(user: str) -> None:
    """Only [sync] user runs jobs: root's files would be in the way of all others. `ConfigError`."""
    try:
        number = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError("[sync] user is no user here; name the owner of the mail.") from None
    if os.geteuid() != number:
        raise ConfigError(
            f"The sync runner must run as [sync] user ({user}), whom the mail belongs to; "
            f"start mailapi-sync.service, or use: runuser -u {user} -- mailapi sync-runner"
        )


def remove_stale() -> None:
    """Directories of runs whose runner was killed."""
    for base in {"/dev/shm", tempfile.gettempdir()}:  # noqa: S108 - nothing is made there
        for path in Path(base).glob(f"{engine.PREFIX}*"):
            with contextlib.suppress(OSError):
                found = path.lstat()
                ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
                if ours and not _runs(path.name.removeprefix(engine.PREFIX).partition("-")[0]):
                    shutil.rmtree(path)


def _runs(pid: str) -> bool:
    return pid.isdecimal() and Path("/proc", pid).exists()


def _cancel(task: asyncio.Task[None]) -> None:
    """Once: who stops a runner again does not keep it from ending its engines."""
    if not task.cancelling():
        task.cancel()
