"""Postfix's locks on its lmdb: maps: nobody reads beside a write, and nobody waits for ever."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailapi import lmdbmap
from mailapi.errors import PublishFailed
from mailapi.lmdbmap import LmdbMap

CONTENT = {b"ann@a.example": b"OK", b"info@a.example": b"ann@a.example, bob@b.example"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The map's name; its file is `file_of` it."""
    return tmp_path / "virtual_alias_maps"


@pytest.fixture
def table(path: Path) -> Iterator[LmdbMap]:
    with contextlib.closing(LmdbMap(path)) as opened:
        opened.sync(CONTENT)
        yield opened


def file_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lmdb")


def test_it_waits_for_postfixs_lock(path: Path, table: LmdbMap) -> None:
    """Neither a reader's nor a writer's fcntl lock is passed over; then the work is done."""
    for kind in (fcntl.LOCK_SH, fcntl.LOCK_EX):
        with locked_elsewhere(path, kind) as holder:
            worker = threading.Thread(target=lambda: table.update({b"bob@a.example": b"OK"}, []))
            worker.start()
            worker.join(0.2)
            assert worker.is_alive()
            holder.terminate()
            worker.join(10)
            assert not worker.is_alive()
        assert table.count() == 3


def test_readers_do_not_wait_for_readers(path: Path, table: LmdbMap) -> None:
    """A lookup's shared lock hinders no comparison."""
    with locked_elsewhere(path, fcntl.LOCK_SH):
        assert table.sync(CONTENT) == (0, 0)


def test_it_does_not_wait_for_ever(
    path: Path, table: LmdbMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is kept is reported with what to do; after it is gone all works."""
    monkeypatch.setattr(lmdbmap, "LOCK_LIMIT", 0.1)
    with (
        locked_elsewhere(path, fcntl.LOCK_EX),
        pytest.raises(PublishFailed, match="end that program"),
    ):
        table.update({b"bob@a.example": b"OK"}, [])
    table.update({b"bob@a.example": b"OK"}, [])
    assert table.count() == 3


LOCKER = """
import fcntl, sys, time
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, int(sys.argv[2]))
    print("locked", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def locked_elsewhere(path: Path, kind: int) -> Iterator[subprocess.Popen[bytes]]:
    """Another process holds Postfix's lock on the map."""
    command = [sys.executable, "-c", LOCKER, str(file_of(path)), str(kind)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout
            assert holder.stdout.readline() == b"locked\n"
            yield holder
        finally:
            holder.terminate()


TRIER = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, int(sys.argv[2]) | fcntl.LOCK_NB)
"""


def test_no_lookup_runs_beside_a_transaction(
    path: Path, table: LmdbMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is held until the change is written, even if the file is opened and closed here."""
    free = []

    def spy(fd: int, command: int, request: bytes) -> Any:
        if request[:2] == fcntl.F_UNLCK.to_bytes(2, sys.byteorder):
            file_of(path).open("rb").close()  # would lose a POSIX lock
            arguments = [str(file_of(path)), str(fcntl.LOCK_SH)]
            trier = subprocess.run([sys.executable, "-c", TRIER, *arguments], capture_output=True)
            free.append(trier.returncode == 0)
        return real(fd, command, request)

    real = fcntl.fcntl
    monkeypatch.setattr(fcntl, "fcntl", spy)
    table.update({b"bob@a.example": b"OK"}, [])
    assert free[-1] is False


def test_threads_take_turns(table: LmdbMap) -> None:
    """Updates from several threads are all there."""

    def work(name: int) -> None:
        for number in range(40):
            table.update({b"%d-%d" % (name, number): b"OK"}, [b"%d-%d" % (name, number - 1)])

    workers = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(dict(table.entries())) == {*CONTENT, *(b"%d-39" % name for name in range(4))}
