"""Backups: what is in them, what they never overwrite, and what may be restored."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from mailapi import backup, config, files, local, objects, restore, schema
from mailapi.cli import backup as commands
from mailapi.cli import main
from mailapi.config import Config
from mailapi.errors import AlreadyRunning, Exists, StateError


def ignore(done: int, total: int) -> None:
    """No progress is shown."""


@pytest.fixture
def here(tmp_path: Path) -> Config:
    """A state with one key, number 1."""
    return state(tmp_path / "here")


@pytest.fixture
def saved(here: Config, tmp_path: Path) -> Path:
    """A backup of it."""
    backup.backup(here, tmp_path / "saved", ignore)
    return tmp_path / "saved"


def state(root: Path, *names: str) -> Config:
    made = config.dev(root)
    for name in names or ("first",):
        local.add_key(made, {"name": name, "scope": "admin"})
    return made


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


def names(wished: Config) -> list[object]:
    return [key["name"] for key in local.keys(wished)]


def content(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def change(path: Path, script: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(script)


# ---------- backup ----------


def test_one_private_file(here, saved, tmp_path):
    """A backup is one file, for its owner's eyes, that needs no other and holds all rows."""
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    for sql in ("SELECT * FROM api_key", "SELECT * FROM change", "PRAGMA user_version"):
        assert rows(saved, sql) == rows(here.state.directory / "mailapi.db", sql) != []
    assert rows(saved, "PRAGMA journal_mode") == [("delete",)]
    assert {file.name for file in tmp_path.iterdir()} == {"here", "saved"}


def test_never_over_a_file(here, saved):
    """A file that is there stays as it is, but with force."""
    before = saved.read_bytes()
    local.add_key(here, {"name": "second", "scope": "read"})
    with pytest.raises(Exists, match="--force"):
        backup.backup(here, saved, ignore)
    assert saved.read_bytes() == before
    backup.backup(here, saved, ignore, force=True)
    assert len(rows(saved, "SELECT * FROM api_key")) == 2


def test_never_over_a_file_that_comes_meanwhile(here, tmp_path):
    """Not even over one that another program makes while the copy is written."""
    target = tmp_path / "saved"
    with pytest.raises(StateError, match="File exists"):
        backup.backup(here, target, lambda *_: target.write_text("another's"))
    assert target.read_text() == "another's"
    assert {file.name for file in tmp_path.iterdir()} == {"here", "saved"}


@pytest.mark.parametrize("force", [True, False])
def test_no_place_for_a_backup(here, tmp_path, force):
    """Neither beside the state nor over what is no file, whatever is forced."""
    inside = here.state.directory
    (tmp_path / "link").symlink_to(inside / "mailapi.db")
    os.mkfifo(tmp_path / "fifo")
    before = content(inside)
    for target in (inside / "mailapi.db", inside / "mailapi.db-wal", inside / "new",
                   tmp_path / "link", tmp_path / "fifo", tmp_path / "none" / "x"):  # fmt: skip
        with pytest.raises(StateError):
            backup.backup(here, target, ignore, force=force)
    assert content(inside) == before


def test_nothing_to_back_up(tmp_path):
    """Without a database there is an error, and no file."""
    empty = config.dev(tmp_path / "empty")
    empty.state.directory.mkdir(parents=True)
    with pytest.raises(StateError, match="There is no"):
        backup.backup(empty, tmp_path / "saved", ignore)
    assert [file.name for file in tmp_path.iterdir()] == ["empty"]


def test_a_damaged_database_is_no_backup(here, tmp_path):
    """What does not pass SQLite's own check never gets the backup's name."""
    with contextlib.closing(sqlite3.connect(here.state.directory / "mailapi.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'change'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with (here.state.directory / "mailapi.db").open("r+b") as stream:
        stream.seek((root - 1) * size)
        stream.write(os.urandom(size))
    with pytest.raises(StateError, match="damaged"):
        backup.backup(here, tmp_path / "saved", ignore)
    assert [file.name for file in tmp_path.iterdir()] == ["here"]


def test_one_moment(here, tmp_path):
    """What is written while the copy is made is not in it, and does not begin it anew."""
    seen: list[tuple[int, int]] = []
    change(here.state.directory / "mailapi.db", "CREATE TABLE filler (x); "
           "INSERT INTO filler SELECT randomblob(100000) FROM (VALUES (1),(2),(3),(4));"
           "DROP TABLE filler;")  # fmt: skip

    def meanwhile(done: int, total: int) -> None:
        seen.append((done, total))
        local.add_key(here, {"name": f"k{len(seen)}", "scope": "read"})

    pages, backup.PAGES = backup.PAGES, 10
    try:
        backup.backup(here, tmp_path / "saved", meanwhile)
    finally:
        backup.PAGES = pages
    assert len(seen) > 5
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert rows(tmp_path / "saved", "SELECT count(*) FROM api_key") == [(1,)]


# ---------- restore ----------


def test_into_nothing(here, saved, tmp_path):
    """On a host without a state, the backup is the state; none is kept beside it."""
    there = config.dev(tmp_path / "there")
    assert restore.restore(there, saved, ignore) is None
    assert names(there) == ["first"]
    assert {file.name for file in there.state.directory.iterdir()} >= {"mailapi.db", "lock"}
    assert stat.S_IMODE((there.state.directory / "mailapi.db").stat().st_mode) == 0o600
    assert stat.S_IMODE(there.state.directory.stat().st_mode) == 0o700


def test_not_over_a_state_that_holds_anything(saved, tmp_path):
    """A key is something; with force the old database is kept, with all that was in its log."""
    there = state(tmp_path / "there", "precious")
    before = names(there)
    with pytest.raises(Exists, match="--force"):
        restore.restore(there, saved, ignore)
    assert names(there) == before
    kept = restore.restore(there, saved, ignore, force=True)
    assert names(there) == ["first"]
    assert rows(kept, "SELECT name FROM api_key") == [("precious",)]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    left = {file.name for file in there.state.directory.iterdir()}
    assert left - {"mailapi.db-wal", "mailapi.db-shm"} == {"mailapi.db", kept.name, "lock"}


def test_over_a_state_that_holds_nothing(saved, tmp_path):
    """A state that was only served once, without a key, is replaced without force."""
    there = config.dev(tmp_path / "there")
    assert local.keys(there) == []
    restore.restore(there, saved, ignore)
    assert names(there) == ["first"]


def test_not_while_a_service_runs(saved, tmp_path):
    """Whoever holds the lock of the state keeps it."""
    there = state(tmp_path / "there", "precious")
    with files.InstanceLock(there.state.directory), pytest.raises(AlreadyRunning):
        restore.restore(there, saved, ignore, force=True)
    assert names(there) == ["precious"]


def test_not_while_another_program_has_it_open(saved, tmp_path, monkeypatch):
    """A command that has the database open would write into the wrong one."""
    there = state(tmp_path / "there", "precious")
    path = there.state.directory / "mailapi.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("SELECT * FROM state").fetchall()
        real = restore.opened
        monkeypatch.setattr(restore, "opened", lambda *what: _hasty(real, *what))
        with pytest.raises(StateError, match="Another program"):
            restore.restore(there, saved, ignore, force=True)
    assert names(there) == ["precious"]


@contextlib.contextmanager
def _hasty(real: Callable[..., contextlib.AbstractContextManager[sqlite3.Connection]], *what):
    with real(*what) as db:
        db.execute("PRAGMA busy_timeout = 1")
        yield db


NOT_OURS: dict[str, str] = {
    "no database": "",
    "another database": "CREATE TABLE t (x)",
    "newer": "PRAGMA user_version = 99",
    "one table less": "DROP TABLE kick",
    "a trigger more": "CREATE TRIGGER x AFTER INSERT ON change BEGIN DELETE FROM api_key; END",
    "a broken reference": "INSERT INTO alias_target VALUES (99, 0, 'a@b.c', 'a@b.c', 'b.c')",
}


@pytest.mark.parametrize("kind", NOT_OURS)
def test_what_is_refused(saved, tmp_path, kind):
    """What is no whole database of mailapi of a known version changes nothing, even with force."""
    there = state(tmp_path / "there", "precious")
    if kind == "no database":
        saved.write_bytes(b"x" * 5000)
    elif kind == "another database":
        saved.unlink()
    if NOT_OURS[kind]:
        change(saved, NOT_OURS[kind])
    with pytest.raises(StateError):
        restore.restore(there, saved, ignore, force=True)
    assert names(there) == ["precious"]
    assert not [f for f in there.state.directory.iterdir() if f.name.startswith(".")]
    with pytest.raises(StateError):
        restore.restore(there, tmp_path / "missing", ignore, force=True)


def test_an_older_version_is_brought_up(saved, tmp_path, monkeypatch):
    """A backup from before a change of the database's form is restored and then migrated."""
    newer = tmp_path / "migrations"
    newer.mkdir()
    for step in schema.MIGRATIONS.glob("*.sql"):
        (newer / step.name).write_text(step.read_text())
    (newer / "9999_more.sql").write_text("CREATE TABLE more (x INTEGER) STRICT;")
    monkeypatch.setattr(schema, "MIGRATIONS", newer)
    there = config.dev(tmp_path / "there")
    restore.restore(there, saved, ignore)
    assert names(there) == ["first"]
    assert rows(there.state.directory / "mailapi.db", "SELECT * FROM more") == []


def test_numbers_and_generations_go_on(here, tmp_path):
    """The restored state follows both: no generation and no number comes a second time."""
    change(here.state.directory / "mailapi.db", "UPDATE state SET generation = 5, applied = 5")
    backup.backup(here, tmp_path / "saved", ignore)
    there = state(tmp_path / "there", "a", "b", "c")
    change(
        there.state.directory / "mailapi.db",
        "UPDATE state SET generation = 40, applied = 40; "
        "INSERT INTO sqlite_sequence VALUES ('alias', 7)",
    )
    restore.restore(there, tmp_path / "saved", ignore, force=True)
    database = there.state.directory / "mailapi.db"
    assert rows(database, "SELECT generation, applied FROM state") == [(41, 40)]
    said = rows(database, "SELECT id, generation, action, object, name FROM change")
    assert said[-1] == (4, 41, "update", "state", "restore")
    numbers = dict(rows(database, "SELECT name, seq FROM sqlite_sequence"))
    assert numbers == {"api_key": 3, "change": 4, "alias": 7}


@pytest.mark.parametrize("ticks", [5, 500])
def test_no_version_of_lists_comes_twice(here, tmp_path, ticks):
    """What lists' ETags are made of grows, though the runs of sync jobs stand in no change log."""
    database = here.state.directory / "mailapi.db"
    change(database, "UPDATE sync_clock SET ticks = 50")
    backup.backup(here, tmp_path / "saved", ignore)
    change(database, f"UPDATE sync_clock SET ticks = {ticks}")
    with backup.opened(database, "ro") as db:
        before = objects.version(db)
    restore.restore(here, tmp_path / "saved", ignore, force=True)
    assert rows(database, "SELECT ticks FROM sync_clock") == [(max(50, ticks) + 1,)]
    with backup.opened(database, "ro") as db:
        assert objects.version(db) > before


def test_a_state_without_sync_jobs_is_replaced(here, tmp_path):
    """The old state may be of a version that knew none."""
    backup.backup(here, tmp_path / "saved", ignore)
    database = here.state.directory / "mailapi.db"
    change(database, "DROP TABLE sync_clock; UPDATE state SET generation = 9")
    restore.restore(here, tmp_path / "saved", ignore, force=True)
    assert rows(database, "SELECT generation FROM state") == [(10,)]


def test_a_lost_database_leaves_its_generation(here, tmp_path):
    """Where the database is lost or unreadable, Dovecot's file tells what was published."""
    backup.backup(here, tmp_path / "saved", ignore)
    here.dovecot.directory.mkdir()
    (here.dovecot.directory / "users").write_text(
        "a@b.c:{X}:::::: userdb_mailapi_generation=17\n"
        "b@b.c:{X}:::::: userdb_mailapi_generation=9\n"
    )
    database = here.state.directory / "mailapi.db"
    database.write_bytes(b"lost" * 2000)
    with pytest.raises(Exists):
        restore.restore(here, tmp_path / "saved", ignore)
    kept = restore.restore(here, tmp_path / "saved", ignore, force=True)
    assert kept.read_bytes()[:4] == b"lost"
    assert rows(database, "SELECT generation, applied FROM state") == [(18, 17)]


def test_the_log_of_a_damaged_database_is_not_the_new_ones(here, tmp_path):
    """A write-ahead log that belongs to the old database goes with it."""
    backup.backup(here, tmp_path / "saved", ignore)
    directory = here.state.directory
    (directory / "mailapi.db").write_bytes(b"lost" * 2000)
    (directory / "mailapi.db-wal").write_bytes(b"old log")
    kept = restore.restore(here, tmp_path / "saved", ignore, force=True)
    assert Path(f"{kept}-wal").read_bytes() == b"old log"
    assert not (directory / "mailapi.db-wal").exists()
    assert names(here) == ["first"]
    (directory / "mailapi.db").unlink()
    (directory / "mailapi.db-wal").write_bytes(b"old log")
    assert restore.restore(here, tmp_path / "saved", ignore) is None
    assert not (directory / "mailapi.db-wal").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_root_leaves_files_to_the_service(saved, tmp_path):
    """What root restores belongs to the owner of the state directory, the lock too."""
    there = config.dev(tmp_path / "there")
    there.state.directory.mkdir(parents=True)
    os.chown(there.state.directory, 12345, 23456)
    restore.restore(there, saved, ignore)
    kept = restore.restore(there, saved, ignore, force=True)
    for file in (there.state.directory / "mailapi.db", there.state.directory / "lock", kept):
        assert (file.stat().st_uid, file.stat().st_gid) == (12345, 23456), file


# ---------- the commands ----------


def test_commands_and_exit_codes(here, saved, tmp_path):
    """They say what they did; 4: it is there already, 75: a service runs, 1: it is no backup."""

    def run(*argv: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, argv)
        return result.exit_code, result.output

    dev, target = f"--dev={tmp_path / 'here'}", str(tmp_path / "new")
    assert run("backup", dev, target) == (0, f"{target} holds the state of generation 0.\n")
    assert run("backup", dev, target)[0] == 4
    assert run("backup", dev, "--force", target)[0] == 0
    assert run("restore", dev, target)[0] == 4
    with files.InstanceLock(here.state.directory):
        assert run("restore", dev, "--force", target)[0] == 75
    code, said = run("restore", dev, "--force", target)
    assert (code, "What was there is " in said) == (0, True)
    Path(target).write_text("no database")
    assert run("restore", dev, "--force", target)[0] == 1


def test_progress_is_shown_where_it_takes_long(monkeypatch, capsys):
    """The bar comes after a second and ends full; what is quicker shows none."""
    monkeypatch.setattr("click._termui_impl.isatty", lambda _: True)
    clock = iter([0.0, 0.5, 1.5])
    monkeypatch.setattr(commands.time, "monotonic", lambda: next(clock, 2.0))
    with commands._progress("Copying") as progress:
        progress(10, 100)
        assert capsys.readouterr().err == ""
        progress(50, 100)
        assert "50%" in capsys.readouterr().err
        progress(100, 100)
    assert "100%" in capsys.readouterr().err


@pytest.mark.parametrize("call", ["os.link", "os.fsync", "pathlib.Path.replace"])
def test_a_failing_disk_leaves_the_old_state(saved, tmp_path, monkeypatch, call):
    """Where the file system refuses a step, the old state stays and no copy is left."""
    there = state(tmp_path / "there", "precious")
    with monkeypatch.context() as faults:
        faults.setattr(call, _full)
        with pytest.raises(StateError, match="No space left"):
            restore.restore(there, saved, ignore, force=True)
        target = tmp_path / "other"
        with pytest.raises(StateError, match="No space left"):
            backup.backup(there, target, ignore, force=call.endswith("replace"))
    assert names(there) == ["precious"]
    assert not [file for file in there.state.directory.iterdir() if file.name.startswith(".")]
    assert {file.name for file in tmp_path.iterdir()} == {"here", "there", "saved"}


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
