"""The database's structure: migrations in order, counted by SQLite's `user_version`.

`migrate` brings a database to the newest version, each step in one transaction. Before it changes
a database that holds anything, it writes a copy beside it (`VACUUM INTO`), named after the version
that it had. A database of a newer version than this program knows raises `StateError`.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from .errors import StateError

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(db: sqlite3.Connection, path: Path) -> int:
    """Bring the database to the newest version and return it. Source: sqlite.org, user_version."""
    path.chmod(0o600)
    steps = sorted(MIGRATIONS.glob("*.sql"))
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise StateError("The database is of a newer mailapi; install that version or a backup.")
    if 0 < version < len(steps):
        _copy(db, path.with_name(f"{path.name}.v{version}"))
    for number, step in enumerate(steps[version:], version + 1):
        _step(db, number, step.read_text(encoding="utf-8"))
    return len(steps)


def _step(db: sqlite3.Connection, number: int, script: str) -> None:
    """One step in one transaction, unless another process was faster (`mailapi key`)."""
    try:
        db.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
    except sqlite3.OperationalError:
        if db.in_transaction:
            db.execute("ROLLBACK")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version < number:
            raise


def _copy(db: sqlite3.Connection, target: Path) -> None:
    """A copy from an earlier attempt is replaced: it may be half of one."""
    target.unlink(missing_ok=True)
    db.execute("VACUUM INTO ?", (str(target),))
    target.chmod(0o600)
