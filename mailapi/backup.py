"""A copy of the database at one moment, whether the service runs or not.

    backup(config, Path("/root/mailapi.backup"))

The copy is one SQLite file that needs no other beside it, mode 0600: it holds password hashes. It
is written beside its name and checked before it gets it, so there is never half a backup under that
name. SQLite's backup reads a snapshot, which changes of the running service neither wait for nor
begin anew. Source: sqlite.org, backup.html and wal.html.

Raises `StateError` where something cannot be read, written or used, and `Exists`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from . import files, schema
from .config import Config
from .errors import Exists, PublishFailed, StateError

DATABASE: Final = "mailapi.db"
PAGES: Final = 1000  # copied in one step
Progress = Callable[[int, int], None]  # pages done, of


def backup(config: Config, target: Path, progress: Progress, *, force: bool = False) -> int:
    """Write the backup and return its generation; `force`: also over a file that is there."""
    source = config.state.directory / DATABASE
    staged = target.with_name(f".{target.name}.new")
    _may_write(target, config.state.directory, force)
    with explained(f"The backup {target} cannot be written"), _removed(staged):
        generation = copy(source, staged, progress)
        if force:
            staged.replace(target)
        else:
            os.link(staged, target)  # never over another's file that came meanwhile
            staged.unlink()
        files.sync_directory(target.parent)
    return generation


def copy(source: Path, target: Path, progress: Progress) -> int:
    """Make `target` a checked copy of the database `source`; return its generation.

    Raise `StateError`, `OSError`.
    """
    if not source.is_file():
        raise StateError(f"There is no {source}; name the file, or serve once.")
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    try:
        with opened(source, "ro") as old, opened(target, "rw") as new:
            old.execute("BEGIN")
            old.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here, one moment
            old.backup(
                new, pages=PAGES, progress=lambda _, rest, total: progress(total - rest, total)
            )
            new.execute("PRAGMA journal_mode = DELETE")  # no -wal beside it
            generation = check(new)
    except sqlite3.Error as error:
        raise unreadable(error, source) from error
    with target.open("rb") as stream:
        os.fsync(stream)
    return generation


def check(db: sqlite3.Connection) -> int:
    """The generation of a database that is whole, and of a version that this program knows."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    steps = sorted(schema.MIGRATIONS.glob("*.sql"))
    if version > len(steps):
        raise StateError("It is of a newer mailapi; install that version.")
    with contextlib.closing(sqlite3.connect(":memory:")) as model:
        for step in steps[:version]:
            model.executescript(step.read_text(encoding="utf-8"))
        if not version or _objects(db) != _objects(model):
            raise StateError("This is no database of mailapi; name another file.")
    damage = db.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",)
    if damage or db.execute("PRAGMA foreign_key_check").fetchone():
        raise StateError("The database is damaged; use another backup.")
    (generation,) = db.execute("SELECT generation FROM state").fetchone()
    return int(generation)


@contextlib.contextmanager
def opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """The database, "ro" or "rw"; it must exist."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
        db.execute("PRAGMA busy_timeout = 5000")
        yield db


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """An OSError inside becomes a `StateError` that says why."""
    try:
        yield
    except (OSError, PublishFailed) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        why = getattr(cause, "strerror", None) or "the file system refuses it"
        raise StateError(f"{what}: {why}.") from error


def unreadable(error: sqlite3.Error, source: Path) -> StateError:
    """What SQLite's error means for who asked for the copy."""
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL:
        return StateError("The disk is full; make room.")
    if code == sqlite3.SQLITE_NOTADB:
        return StateError(f"{source} is no database of mailapi; name another file.")
    return StateError(
        f"{source} cannot be read: it is damaged, or not this user's; run this as root or as the "
        "service's user."
    )


def _objects(db: sqlite3.Connection) -> set[tuple[str, str, str]]:
    """The tables, indexes and triggers."""
    rows = db.execute("SELECT type, name, tbl_name FROM sqlite_master").fetchall()
    return {row for row in rows if not row[1].startswith("sqlite_")}


def _may_write(target: Path, state: Path, force: bool) -> None:
    with explained(f"The backup {target} cannot be written"):
        if target.parent.samefile(state):
            raise StateError("Beside the state is no place for a backup; choose another directory.")
        if target.is_symlink() or (target.exists() and not target.is_file()):
            raise StateError(f"{target} is no ordinary file; choose another name.")
    if target.exists() and not force:
        raise Exists(f"There is a {target} already; choose another name, or use --force.")


@contextlib.contextmanager
def _removed(staged: Path) -> Iterator[None]:
    """Leave nothing behind if the block fails."""
    try:
        yield
    except BaseException:
        for name in (staged.name, f"{staged.name}-journal"):
            with contextlib.suppress(OSError):
                staged.with_name(name).unlink()
        raise
