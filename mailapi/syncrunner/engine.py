"""One run: the remote side, the relay, mbsync(1), and Dovecot's imap program behind `near`.

    ended = await run(job, place, rules, note)  # -> Outcome; cancel it, and the engine ends

Each folder is a channel of its own, whose state is in the mailbox's home (`memory`). The engine's
other files are in a private directory, in memory where there is one. All programs end with the run.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from . import mbsyncrc, process
from .ending import OK, judged, losses, strange, without
from .faults import SyncFault, explained
from .listing import Folder
from .mbsyncrc import Channel
from .memory import Memory
from .near import Near
from .relay import Relay
from .remote import Remote, Rules, logged_in
from .seen import Seen, Young

PREFIX: Final = "mailapi-sync-"  # of the private directories' names; the runner's PID follows
IMAP: Final = "/usr/lib/dovecot/imap"
QUIET: Final = ("-o", "stats_writer_socket_path=", "-o", "log_path=/dev/stderr")


@dataclass(frozen=True, slots=True)
class Place:
    """Where mail lies and how: a mailbox's home as in [dovecot] mail_home, Dovecot's own file."""

    mail_home: str
    dovecot: Path
    time_limit: float


@dataclass(frozen=True, slots=True)
class Outcome:
    result: str
    messages: int
    bytes: int
    output: str


@dataclass(frozen=True, slots=True)
class Progress:
    messages: int
    bytes: int
    folder: str | None
    share: float


async def run(
    job: dict[str, Any], place: Place, rules: Rules, note: Callable[[Progress], None]
) -> Outcome:
    """Copy once. Never raises but `CancelledError`."""
    seen = Seen()
    try:
        async with asyncio.timeout(place.time_limit), logged_in(job, rules) as remote:
            with explained():
                found = await remote.folders(job["exclude"])
            wanted = [f for f in found if not f.excluded]
            usable = [folder for folder in wanted if mbsyncrc.usable(folder, job["subfolder2"])]
            watch = asyncio.create_task(_watch(seen, usable, note))
            try:
                result, said = OK, ""
                if usable:
                    result, said = await _engine(job, place, usable, remote, seen)
            finally:
                watch.cancel()
        if left := len(wanted) - len(usable):
            said = f"Folders whose names cannot be copied: {left}.\n{said}"
            result = "incomplete" if result == OK else result
        return Outcome(result, seen.messages, seen.bytes, said)
    except SyncFault as fault:
        output = fault.output or f"{job['host1']}: {fault.reason}."
        return Outcome(fault.code, seen.messages, seen.bytes, output)
    except TimeoutError:
        output = "It took longer than [sync] time_limit; the next run goes on from here."
        return Outcome("time_limit", seen.messages, seen.bytes, output)


async def _engine(
    job: dict[str, Any], place: Place, folders: Sequence[Folder], remote: Remote, seen: Seen
) -> tuple[str, str]:
    """How it ended, as a code, and the last of what the engine and Dovecot said."""
    memory = Memory(_home(job, place), job)
    memory.begin(job["maxage"])
    channels = list(mbsyncrc.channels(folders, job["subfolder2"], memory))
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - made private
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=shared) as directory:
        config = Path(directory) / "mbsyncrc"
        imap = (IMAP, "-c", str(place.dovecot), *QUIET, "-u", job["username"])
        near = Near(imap, _environment(directory), {c.alias: c.near for c in channels})
        folder = {c.alias: c.folder.wire for c in channels}
        young = _young(job["maxage"], channels, memory)
        async with Relay(remote, seen, folder, young) as relay, near:
            _write(config, mbsyncrc.text(relay, near, channels, bool(job["delete2"])))
            program = await process.start(
                ("mbsync", "-c", str(config), "-a"), _environment(directory)
            )
            try:
                said = await process.Tail(program.stdout).end()
                status = await program.wait()
            finally:
                await process.end(program)
        for number in strange(said, near, channels):
            memory.forget(channels[number].state)
        said = f"{near.said}\n{said}\n{losses(status, seen)}"
        result = judged(status, said, seen, near)
        if result == OK:
            memory.end()
        return result, without(said, (relay.word, near.word, directory), channels)


def _environment(home: str) -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "LC_ALL": "C.UTF-8"}


def _young(maxage: int, channels: Sequence[Channel], memory: Memory) -> Young | None:
    if not maxage:
        return None
    files = {channel.folder.wire: channel.state for channel in channels}
    since = datetime.now(UTC).date() - timedelta(days=maxage)
    return Young(since, lambda wire: memory.known(files[wire]) if wire in files else ())


def _home(job: dict[str, Any], place: Place) -> Path:
    local, _, domain = job["username"].rpartition("@")
    values = {"%d": domain, "%n": local, "%u": job["username"]}
    return Path(re.sub("%[dnu]", lambda found: values[found[0]], place.mail_home))


async def _watch(seen: Seen, folders: Sequence[Folder], note: Callable[[Progress], None]) -> None:
    """Tell what has passed: folders are visited in their order."""
    total = sum(folder.messages for folder in folders) or 1
    before: dict[str | None, tuple[str, int, int]] = {}
    done = 0
    for folder in folders:
        before[folder.wire] = (folder.name, done, folder.messages)
        done += folder.messages
    while True:
        name, passed, here = before.get(seen.folder, (None, 0, 0))
        share = min(1.0, (passed + min(seen.in_folder, here)) / total)
        note(Progress(seen.messages, seen.bytes, name, round(share, 4)))
        await asyncio.sleep(0.2)


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        stream.write(text)
