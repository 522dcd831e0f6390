"""A backup becomes the state: the next start publishes it.

    kept = restore(config, Path("/root/mailapi.backup"), progress)

Only while no service runs on the state directory. The backup is copied beside the database, checked
and prepared there, and then renamed over it; what was there is kept under a name with the time. A
process that is killed at any point leaves the old state or the new one.

The restored state is a new one, not an old one that came back: its generation is above all that
the host has seen, so the service publishes it without asking (`apply`), Dovecot's answers about its
file tell the new one from the old, no number of an alias, a key or a change is given twice, and no
ETag of a list comes again. The change log says who restored. API keys are those of the backup.

Raises `AlreadyRunning`, `Exists` for a state that holds anything, and what `backup` raises.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from . import backup, caller, files
from .backup import DATABASE, Progress, explained, opened
from .config import Config
from .errors import Exists, StateError
from .txn import Txn

_LINE: Final = re.compile(rb"userdb_mailapi_generation=(\d+)$", re.MULTILINE)


@dataclass(slots=True)
class _Old:
    """What is known of the state that is there."""

    holds: bool = False
    damaged: bool = False
    generation: int = 0
    ticks: int = 0  # of sync_clock
    numbers: dict[str, int] = field(default_factory=dict)  # the last given, by table


def restore(
    config: Config, source: Path, progress: Progress, *, force: bool = False
) -> Path | None:
    """Return where the old database is kept; `force`: also over a state that holds anything."""
    directory = config.state.directory
    database, staged = directory / DATABASE, directory / f".{DATABASE}.new"
    with explained("The state cannot be replaced"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with files.InstanceLock(directory):
            old = _old(database)
            if old.holds and not force:
                raise Exists(
                    "The state on this host holds something already; use --force, which keeps it "
                    "beside the restored one."
                )
            try:
                backup.copy(source, staged, progress)
                old.generation = max(old.generation, _published(config.dovecot.directory))
                _continue(staged, old)
                return _replace(database, staged, old.damaged)
            finally:
                staged.unlink(missing_ok=True)
                _own(directory)


def _old(database: Path) -> _Old:
    """A database that cannot be read may hold anything."""
    if not database.exists():
        return _Old()
    try:
        with opened(database, "ro") as db:
            tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master "
                                                     "WHERE type = 'table'")]  # fmt: skip
            ours = [
                t
                for t in tables
                if t not in ("state", "sync_clock") and not t.startswith("sqlite_")
            ]
            sql = "SELECT EXISTS (SELECT * FROM {})"
            holds = any(db.execute(sql.format(table)).fetchone()[0] for table in ours)
            (generation,) = db.execute("SELECT generation FROM state").fetchone()
            numbers = dict(db.execute("SELECT name, seq FROM sqlite_sequence"))
            ticks = 0
            if "sync_clock" in tables:
                (ticks,) = db.execute("SELECT ticks FROM sync_clock").fetchone()
            return _Old(holds, False, generation, ticks, numbers)
    except sqlite3.Error:
        return _Old(holds=True, damaged=True)


def _published(dovecot: Path) -> int:
    """The newest generation that Dovecot's file has: what a lost database knew, at least."""
    try:
        return max(map(int, _LINE.findall((dovecot / "users").read_bytes())), default=0)
    except OSError:
        return 0


def _continue(staged: Path, old: _Old) -> None:
    """Make the copy the state that follows the old one, none of it live."""
    with opened(staged, "rw") as db:
        (generation,) = db.execute("SELECT generation FROM state").fetchone()
        new = max(generation, old.generation) + 1
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE state SET generation = ?, applied = ?", (new, new - 1))
        db.execute("UPDATE mailbox SET generation = ?", (new,))
        db.execute("UPDATE sync_clock SET ticks = max(ticks, ?) + 1", (old.ticks,))
        db.execute("DELETE FROM kick")
        for table, number in old.numbers.items():
            last = db.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = ?", (table,))
            most = max(last.fetchone()[0] or 0, number)
            db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            db.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, most))
        _note(Txn(db, caller.administrator(caller.username(os.getuid())), "restore", new))
        db.execute("COMMIT")


def _note(txn: Txn) -> None:
    """The line of the change log."""
    row = {"generation": txn.generation, "at": txn.now, "who": txn.caller.name}
    row |= {"request_id": txn.request_id, "action": "update", "object": "state", "name": "restore"}
    txn.insert("change", row)


def _replace(database: Path, staged: Path, damaged: bool) -> Path | None:
    """Rename; return the old database's new name. A damaged one keeps the log that it has."""
    kept = database.with_name(f"{DATABASE}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    there = database.exists()
    if there:
        if not damaged:
            _close_wal(database)
        os.link(database, kept)
    for end in ("-wal", "-shm"):  # a new database beside an old log would be damaged by it
        with contextlib.suppress(FileNotFoundError):
            Path(f"{database}{end}").rename(f"{kept}{end}")
    staged.replace(database)
    files.sync_directory(database.parent)
    return kept if there else None


def _close_wal(database: Path) -> None:
    """Bring what is in the write-ahead log into the database, and remove it."""
    try:
        with opened(database, "rw") as db:
            db.execute("PRAGMA journal_mode = DELETE").fetchone()
    except sqlite3.Error as error:
        raise StateError("Another program has the database open; end it first.") from error


def _own(directory: Path) -> None:
    """As root: the files belong to who owns the directory."""
    if os.geteuid() == 0:
        there = directory.stat()
        for file in [*directory.glob(f"{DATABASE}*"), directory / "lock"]:
            os.chown(file, there.st_uid, there.st_gid)
