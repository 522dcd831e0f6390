"""One run: the remote side, the relay, and mbsync(1) between it and Dovecot's imap program.

    ended = await run(job, place, rules, note)  # -> Outcome; cancel it, and the engine ends

Each folder is a channel of its own, whose state is in the mailbox's home (`memory`). The engine's
other files are in a private directory, in memory where there is one; its process group ends with
the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .faults import SyncFault
from .memory import Memory
from .names import encode, excluded
from .relay import Relay, Seen
from .remote import Folder, Rules, explained, logged_in

LAST: Final = 2000  # characters of what the engine says
PREFIX: Final = "mailapi-sync-"  # of the private directories' names
_OK: Final = "ok"
_TOKEN = re.compile(r'["\\]')
_NOISE = re.compile(r"Password is being sent in the clear|stats-writer|Info: Disconnected|^\s*$")
CONFIG: Final = """\
Create Near
Remove None
Expunge {expunge}
CopyArrivalDate yes
FSync yes

IMAPStore far
Host 127.0.0.1
Port {port}
User mailapi
Pass "{word}"
SSLType None
AuthMechs LOGIN
UseNamespace no
{delimiter}
Timeout 120

IMAPStore near
Tunnel "exec /usr/lib/dovecot/imap -c {dovecot} -u {user}"
Timeout 120
"""
CHANNEL: Final = """
Channel c{number}
Far ":far:{far}"
Near ":near:{near}"
Sync {sync}
SyncState "{state}"
"""
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
            wanted = [f for f in found if not excluded(f.name, job["exclude"]) and _usable(f)]
            async with Relay(remote) as relay:
                seen = relay.seen
                watch = asyncio.create_task(_watch(seen, wanted, note))
                try:
                    status, said = await _engine(job, place, wanted, relay)
                finally:
                    watch.cancel()
        return Outcome(_result(status, said, seen), seen.messages, seen.bytes, said)
    except SyncFault as fault:
        output = fault.output or f"{job['host1']}: {fault.reason}."
        return Outcome(fault.code, seen.messages, seen.bytes, output)
    except TimeoutError:
        output = "It took longer than [sync] time_limit; the next run goes on from here."
        return Outcome("time_limit", seen.messages, seen.bytes, output)


async def _engine(
    job: dict[str, Any], place: Place, folders: Sequence[Folder], relay: Relay
) -> tuple[int, str]:
    memory = Memory(_home(job, place), job)
    memory.begin()
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - made private
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=shared) as directory:
        config = _configured(job, place, folders, relay, memory, Path(directory))
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "mbsync", "-c", config, "-a"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": directory, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        try:
            said = await _last(process)
            status = await process.wait()
            memory.end(status, said)
            return status, _without(said, relay.word, directory)
        finally:
            await _end(process)


def _configured(
    job: dict[str, Any],
    place: Place,
    folders: Sequence[Folder],
    relay: Relay,
    memory: Memory,
    directory: Path,
) -> Path:
    """Write the engine's files, mode 0600; the path of its configuration."""
    dovecot, config = directory / "dovecot.conf", directory / "mbsyncrc"
    _write(dovecot, DOVECOT.format(main=place.dovecot))
    head = CONFIG.format(
        expunge="Near" if job["delete2"] else "None",
        port=relay.port,
        word=relay.word,
        delimiter=_delimiter(folders),
        dovecot=dovecot,
        user=_shell(job["username"]),
    )
    sync = "Pull New Flags Delete" if job["delete2"] else "Pull New Flags"
    channels = []
    for number, (folder, near) in enumerate(near_names(folders, job["subfolder2"]), 1):
        far = "/".join(folder.levels)
        values = {
            "far": _escape(far),
            "near": _escape(encode(near)),
            "state": memory.file(folder.wire, near),
        }
        channels.append(CHANNEL.format(number=number, sync=sync, **values))
    _write(config, head + "".join(channels))
    return config


def near_names(folders: Sequence[Folder], under: str) -> Iterator[tuple[Folder, str]]:
    """Each folder's name here: below `under`; no dots, which part the levels of Dovecot's names."""
    taken: set[str] = set()
    for folder in folders:
        name = re.sub(r"[.~]", "_", folder.name)
        near = "INBOX" if name.upper() == "INBOX" and not under else name
        near = f"{under}/{near}" if under else near
        if near in taken:
            near += "_" + hashlib.sha256(folder.wire.encode()).hexdigest()[:6]
        taken.add(near)
        yield folder, near


def _home(job: dict[str, Any], place: Place) -> Path:
    local, _, domain = job["username"].rpartition("@")
    values = {"%d": domain, "%n": local, "%u": job["username"]}
    return Path(re.sub("%[dnu]", lambda found: values[found[0]], place.mail_home))


def _delimiter(folders: Sequence[Folder]) -> str:
    found = next((folder.separator for folder in folders if folder.separator), "")
    return f'PathDelimiter "{_escape(found)}"' if found else ""


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


async def _last(process: asyncio.subprocess.Process) -> str:
    """The last of what it says; all of it is read, or it would wait."""
    assert process.stdout is not None  # noqa: S101 - asked for above
    kept = b""
    while chunk := await process.stdout.read(1 << 16):
        kept = (kept + chunk)[-4 * LAST :]
    return kept.decode("utf-8", "replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """The process group ends, whether the engine has or not: SIGTERM, then SIGKILL."""
    for number, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await process.wait()
    await process.wait()


def _without(said: str, word: str, directory: str) -> str:
    """The last lines without what is secret, private or noise."""
    lines = [line for line in said.splitlines() if not _NOISE.search(line)]
    text = "\n".join(lines).replace(word, "***").replace(directory, "…")
    return "".join(c for c in text if c.isprintable() or c == "\n")[-LAST:]


def _usable(folder: Folder) -> bool:
    """A name that the engine's configuration can hold."""
    return folder.wire.isprintable() and all(
        level and "/" not in level and level not in (".", "..") for level in folder.levels
    )


def _escape(text: str) -> str:
    return _TOKEN.sub(r"\\\g<0>", text)


def _shell(address: str) -> str:
    """An address has no sign that the shell would take, but for the apostrophe."""
    return address.replace("'", "\\\\'")


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        stream.write(text)
