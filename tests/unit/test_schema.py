"""Migrations: from nothing, from an older version, from a newer one, and two at once."""

from __future__ import annotations

import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mailapi import schema
from mailapi.errors import StateError


def opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=10)


def version(path: Path) -> int:
    return opened(path).execute("PRAGMA user_version").fetchone()[0]


def test_from_nothing(tmp_path):
    """An empty database gets all steps, is its owner's alone, and needs no copy."""
    path = tmp_path / "mailapi.db"
    newest = schema.migrate(opened(path), path)
    assert version(path) == newest == len(list(schema.MIGRATIONS.glob("*.sql")))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["mailapi.db"]


def test_again(tmp_path):
    """A database of the newest version is left as it is."""
    path = tmp_path / "mailapi.db"
    schema.migrate(opened(path), path)
    before = path.read_bytes()
    schema.migrate(opened(path), path)
    assert path.read_bytes() == before


def test_older(tmp_path, monkeypatch):
    """An older one is brought up, its rows stay, and a copy of it as it was lies beside it."""
    steps = tmp_path / "steps"
    steps.mkdir()
    (steps / "0001_a.sql").write_text("CREATE TABLE a (x); INSERT INTO a VALUES (7);")
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    path = tmp_path / "mailapi.db"
    schema.migrate(opened(path), path)
    (steps / "0002_b.sql").write_text("ALTER TABLE a ADD COLUMN y;")
    assert schema.migrate(opened(path), path) == 2
    assert opened(path).execute("SELECT x, y FROM a").fetchall() == [(7, None)]
    copy = tmp_path / "mailapi.db.v1"
    assert version(copy) == 1
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_a_step_that_fails(tmp_path, monkeypatch):
    """A step is done as a whole or not at all."""
    steps = tmp_path / "steps"
    steps.mkdir()
    (steps / "0001_a.sql").write_text("CREATE TABLE a (x); INSERT INTO b VALUES (7);")
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    path = tmp_path / "mailapi.db"
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(opened(path), path)
    assert version(path) == 0
    assert opened(path).execute("SELECT name FROM sqlite_master").fetchall() == []


def test_newer(tmp_path):
    """A database of a newer program is refused, and left as it is."""
    path = tmp_path / "mailapi.db"
    opened(path).execute("PRAGMA user_version = 99")
    with pytest.raises(StateError, match="newer"):
        schema.migrate(opened(path), path)
    assert version(path) == 99


def test_two_at_once(tmp_path):
    """`serve` and `key` may find the same empty database: both end with the newest version."""
    for number in range(20):
        path = tmp_path / f"{number}.db"
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda _, path=path: schema.migrate(opened(path), path), "ab"))
        assert found == [version(path)] * 2
