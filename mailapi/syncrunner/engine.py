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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from . import mbsyncrc, process
from .faults import SyncFault
from .mbsyncrc import Channel
from .memory import Memory
from .names import excluded
from .near import Near
from .relay import Relay
from .remote import Folder, Remote, Rules, explained, logged_in
from .seen import Seen, Young

LAST: Final = 2000  # characters of what the engine says
PREFIX: Final = "mailapi-sync-"  # of the private directories' names
_OK: Final = "ok"
_NOISE = re.compile(r"Password is being sent in the clear|stats-writer|Info: Disconnected|^\s*$")
DOVECOT: Final = "!include {main}\nstats_writer_socket_path =\nlog_path = /dev/stderr\n"


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
                found = await remote.folders()
            wanted = [f for f in found if not excluded(f.name, job["exclude"])]
            usable = [folder for folder in wanted if mbsyncrc.usable(folder)]
            watch = asyncio.create_task(_watch(seen, usable, note))
            try:
                status, said = await _engine(job, place, usable, remote, seen)
            finally:
                watch.cancel()
        if left := len(wanted) - len(usable):
            said = f"Folders whose names cannot be copied: {left}; they returned an error.\n{said}"
        return Outcome(_result(status, said, seen), seen.messages, seen.bytes, said)
    except SyncFault as fault:
        output = fault.output or f"{job['host1']}: {fault.reason}."
        return Outcome(fault.code, seen.messages, seen.bytes, output)
    except TimeoutError:
        output = "It took longer than [sync] time_limit; the next run goes on from here."
        return Outcome("time_limit", seen.messages, seen.bytes, output)


async def _engine(
    job: dict[str, Any], place: Place, folders: Sequence[Folder], remote: Remote, seen: Seen
) -> tuple[int, str]:
    """The engine's exit status, and the last of what it and Dovecot said."""
    memory = Memory(_home(job, place), job)
    memory.begin(job["maxage"])
    channels = list(mbsyncrc.channels(folders, job["subfolder2"], memory))
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - made private
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=shared) as directory:
        dovecot, config = Path(directory) / "dovecot.conf", Path(directory) / "mbsyncrc"
        _write(dovecot, DOVECOT.format(main=place.dovecot))
        imap = ("/usr/lib/dovecot/imap", "-c", str(dovecot), "-u", job["username"])
        near = Near(imap, _environment(directory))
        async with Relay(remote, seen, _young(job["maxage"], channels, memory)) as relay, near:
            _write(config, mbsyncrc.text(relay, near, channels, folders, bool(job["delete2"])))
            program = await process.start(
                ("mbsync", "-c", str(config), "-a"), _environment(directory)
            )
            try:
                said = await process.Tail(program.stdout).end()
                status = await program.wait()
            finally:
                await process.end(program)
        memory.end(status, said)
        said = f"{near.said}\n{said}"
        return status, _without(said, (relay.word, near.word, directory))


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


def _result(status: int, said: str, seen: Seen) -> str:
    """The engine's end, as a code."""
    if re.search(r"overquota|quota exceeded", said, re.IGNORECASE):
        return "quota_full"
    if status == 0:  # a message that is not taken is told, and no failure for mbsync
        return "incomplete" if "returned an error" in said else _OK
    if seen.hung or "timeout" in said.lower():
        return "timeout"
    if seen.lost:
        return "connection_lost"
    if re.search(r"userdb lookup|User lookup failed|User doesn't exist|tunnel", said):
        return "local_failed"
    return "engine_failed"


def _without(said: str, words: Iterable[str]) -> str:
    """The last lines without what is secret, private or noise."""
    text = "\n".join(line for line in said.splitlines() if not _NOISE.search(line))
    for word in words:
        text = text.replace(word, "…")
    return "".join(c for c in text if c.isprintable() or c == "\n")[-LAST:]


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        stream.write(text)
