"""Postfix `lmdb:` maps, kept in place: one transaction for each change, live for the next lookup.

Guarantees:
- A lookup sees a change whole or not at all. Sessions that are open see it without a new open.
- `update` and `sync` return when the change is on disk. If they fail, the old content stands and
  the next call works again.
- No lookup and no `postmap` runs beside a transaction: Postfix opens maps with MDB_NOLOCK and takes
  an fcntl lock on the data file for each lookup, shared, and for each write, exclusive. So does
  this. The locks are those of an open file description, because POSIX locks would be lost as soon
  as anything in this process closes the same file.
- Keys and values end in a NUL byte, which smtpd(8) looks for.

A file that is missing, damaged or no such map counts as empty. `sync` then writes a fresh one
beside it and renames that over it, complete. This is the one case in which open sessions keep the
old content; Postfix's daemons see that their file is unlinked and start anew after the session.
`update` refuses such a file, because a difference alone would make a map with holes.

Raises `PublishFailed` for `lmdb.Error` and `OSError`, which is its cause. All calls block, and may
come from any thread.

Sources: lmdb_table(5), Postfix's dict_lmdb and slmdb, fcntl(2) on open file description locks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import lmdb
import structlog

from mailapi.errors import PublishFailed
from mailapi.lmdbpages import is_whole

MAX_KEY: Final = 510  # octets, LMDB's 511 less the NUL
LOCK_LIMIT: Final = 10.0  # seconds; Postfix holds its locks for microseconds, postmap(1) for longer

_NUL: Final = b"\0"
_FLOCK: Final = "hhqqi"  # struct flock: type, whence, start, length, pid
_UNUSABLE: Final = (
    FileNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.IncompatibleError,
)
_log = structlog.get_logger("mailapi.lmdbmap")


class LmdbMap:
    """The map `lmdb:PATH`, whose file is `PATH.lmdb`; opened at the first use.

    `map_size` is the most that the file can grow to, in bytes of address space. One object a file.
    """

    def __init__(self, path: Path, map_size: int = 1 << 30) -> None:
        self._name = path.name
        self._file = path.with_name(f"{path.name}.lmdb")
        self._staged = path.with_name(f".{path.name}.lmdb.new")
        self._map_size = map_size
        self._mutex = threading.Lock()
        self._env: lmdb.Environment | None = None
        self._fd = -1  # for the locks
        self._size = 0  # octets that the file had when it was last used

    def update(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes]) -> None:
        """Remove the keys `deletes`, then set `puts`, in one transaction; absent keys are no error.

        Raises PublishFailed, also if there is no usable file: `sync` makes one.
        """
        records = self._records(puts)
        gone = [key + _NUL for key in deletes]
        with self._publishing():
            if records or gone:
                self._commit(self._opened(), records, gone)

    def sync(self, entries: Mapping[bytes, bytes]) -> tuple[int, int]:
        """Make `entries` the content; how many were put and deleted. Equal content is not written.

        Raises PublishFailed.
        """
        records = self._records(entries)
        with self._publishing():
            try:
                env = self._opened()
                puts, gone = self._difference(env, records)
                if puts or gone:
                    self._commit(env, puts, gone)
            except _UNUSABLE as error:
                if not isinstance(error, FileNotFoundError):
                    _log.warning("map rebuilt", map=self._name, cause=type(error).__name__)
                self._rebuild(records)
                return len(records), 0
            return len(puts), len(gone)

    def renew(self) -> None:
        """Replace the file by a fresh one of the same content, renamed over it.

        Daemons that have the old one open, find it unlinked, and end before their next session.
        Raises PublishFailed.
        """
        with self._publishing():
            self._rebuild(self._content())

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values without their NUL, sorted, as they were at the call."""
        with self._publishing():
            found = self._content()
        return ((key.removesuffix(_NUL), found[key].removesuffix(_NUL)) for key in found)

    def count(self) -> int:
        """How many entries there are."""
        with self._publishing():
            return len(self._content())

    def close(self) -> None:
        """Give the file back; a later call opens it again."""
        with self._mutex:
            self._close()

    def _records(self, entries: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        if any(len(key) > MAX_KEY for key in entries):
            raise PublishFailed(
                f"The map {self._name} cannot hold a key of more than {MAX_KEY} octets; shorten it."
            )
        return {key + _NUL: value + _NUL for key, value in entries.items()}

    @contextlib.contextmanager
    def _publishing(self) -> Iterator[None]:
        """One thread at a time; after a failure the next one opens the file anew."""
        with self._mutex:
            try:
                yield
            except (lmdb.Error, OSError) as error:
                self._close()
                raise PublishFailed(
                    f"The map {self._name} cannot be used: {_remedy(error)}."
                ) from error

    def _opened(self) -> lmdb.Environment:
        """The environment of the file that has the name now. Raises what is in _UNUSABLE."""
        now = self._file.stat()
        same = self._env is not None and os.path.samestat(now, os.fstat(self._fd))
        if self._env is not None and same and now.st_size >= self._size:
            return self._env  # one that was cut off would kill us when we read it
        self._close()
        if not now.st_size:
            raise lmdb.InvalidError("an empty file")  # lmdb would take it for a new map
        self._fd, self._size = os.open(self._file, os.O_RDWR | os.O_CLOEXEC), now.st_size
        try:
            with self._locked(fcntl.F_RDLCK):
                self._check_pages()
                self._env = self._environment(self._file)
                self._check_kind(self._env)
        except BaseException:
            self._close()  # or the next call would take it for checked
            raise
        return self._env

    def _environment(self, path: Path) -> lmdb.Environment:
        return lmdb.open(
            str(path), map_size=self._map_size, subdir=False, lock=False, create=False, mode=0o640
        )

    def _check_pages(self) -> None:
        """Refuse a file that was cut off or lost a page: reading it would kill us."""
        with mmap.mmap(self._fd, 0, prot=mmap.PROT_READ) as data:
            if not is_whole(data):
                raise lmdb.CorruptedError("pages are missing")

    def _check_kind(self, env: lmdb.Environment) -> None:
        with env.begin() as txn:
            if any(env.open_db(txn=txn).flags().values()):
                raise lmdb.IncompatibleError("not a plain map")

    def _content(self) -> dict[bytes, bytes]:
        """The records; none where the file is not usable."""
        with contextlib.suppress(*_UNUSABLE):
            env = self._opened()
            with self._locked(fcntl.F_RDLCK), env.begin() as txn:
                return dict(txn.cursor())
        return {}

    def _difference(
        self, env: lmdb.Environment, records: dict[bytes, bytes]
    ) -> tuple[dict[bytes, bytes], list[bytes]]:
        """What to put and what to delete, so that `records` is the content."""
        puts = dict(records)
        gone = []
        with self._locked(fcntl.F_RDLCK), env.begin() as txn:
            for key, value in txn.cursor():
                if key not in records:
                    gone.append(key)
                elif records[key] == value:
                    del puts[key]
        return puts, gone

    def _commit(
        self, env: lmdb.Environment, puts: dict[bytes, bytes], gone: Iterable[bytes]
    ) -> None:
        with self._locked(fcntl.F_WRLCK), env.begin(write=True) as txn:
            for key in gone:
                txn.delete(key)
            for key, value in sorted(puts.items()):
                txn.put(key, value)
        self._size = os.fstat(self._fd).st_size

    def _rebuild(self, records: dict[bytes, bytes]) -> None:
        """A fresh file with all the records, renamed over the one that cannot be used."""
        self._close()
        try:
            self._stage()
            with contextlib.closing(self._environment(self._staged)) as env:
                with env.begin(write=True) as txn:
                    for key, value in sorted(records.items()):
                        txn.put(key, value)
                env.sync(True)
            self._staged.rename(self._file)
        except (lmdb.Error, OSError):
            with contextlib.suppress(OSError):
                self._staged.unlink()
            raise
        _sync_directory(self._file.parent)

    def _stage(self) -> None:
        """An empty file beside the map's, with its final owner and mode."""
        self._staged.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._staged, flags, 0o600)
        try:
            there = self._file.parent.stat()
            with contextlib.suppress(PermissionError):
                os.fchown(fd, there.st_uid if os.geteuid() == 0 else -1, there.st_gid)
            os.fchmod(fd, 0o640)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Postfix's lock on the data file; held against its daemons and against postmap(1)."""
        deadline = time.monotonic() + LOCK_LIMIT
        pause = 0.0001
        while not self._lock(kind):
            if time.monotonic() > deadline:
                raise TimeoutError("the lock on the data file")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.005)
        try:
            yield
        finally:
            self._lock(fcntl.F_UNLCK)

    def _lock(self, kind: int) -> bool:
        request = struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, request)
        except BlockingIOError:
            return False
        return True

    def _close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remedy(error: lmdb.Error | OSError) -> str:
    number = error.errno if isinstance(error, OSError) else getattr(error, "code", 0)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):  # EIO: it took a part only
        return "the disk is full; make room"
    if isinstance(error, lmdb.MapFullError):
        return "it is larger than its limit; remove entries"
    if isinstance(error, TimeoutError):
        return "another program keeps its lock; end that program"
    if isinstance(error, _UNUSABLE):
        return "its file is missing or damaged; check its directory and apply everything again"
    return "let the service's user write to its directory, or see the log for another cause"
