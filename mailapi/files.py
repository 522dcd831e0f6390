"""Whole files, written beside the target and renamed over it; and the lock of one instance.

Guarantees, also when a system call fails or the process is killed at any point:
- a reader of the target sees the old content or the new content, complete;
- the new file has its final owner and mode before it holds a byte, and is on disk (fsync) before
  it gets the target's name;
- at most one leftover exists, `.NAME.new`, and the next write of that target replaces it.

The group of a new file is its directory's; where root writes, so is its owner.

Raises `PublishFailed` for every OSError, which is its cause; the message holds the file's name,
never its path. `InstanceLock` raises `AlreadyRunning` and `ConfigError`. All calls block.

Sources: open(2), rename(2), fsync(2), flock(2).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from mailapi.errors import AlreadyRunning, ConfigError, PublishFailed

_SECOND: Final = 1_000_000_000  # in nanoseconds
_REMEDIES: Final = {
    errno.ENOSPC: "the disk is full; make room",
    errno.EDQUOT: "the disk quota is used up; make room",
    errno.EACCES: "permission is denied; let the service's user write to the directory",
    errno.EPERM: "permission is denied; let the service's user write to the directory",
    errno.EROFS: "the file system is read-only; mount it writable",
    errno.ENOENT: "its directory does not exist; create it",
}


def stage(target: Path, data: bytes, *, mode: int = 0o640, new_mtime: bool = False) -> Path:
    """Write `data` to `.NAME.new` beside `target`, durably, and return that path.

    `new_mtime`: the file's time is in a later whole second than the target's, as Dovecot needs to
    see that a file of the same size is another. That may be some seconds in the future.
    """
    staged = _staged(target)
    with _publishing(target):
        staged.unlink(missing_ok=True)  # a leftover may be another user's, or a link
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(staged, flags, 0o600)
        try:
            _own(fd, target.parent)
            os.fchmod(fd, mode)
            _write(fd, data)
            if new_mtime:
                os.utime(fd, ns=(time.time_ns(), _later_than(target)))
            os.fsync(fd)
        finally:
            os.close(fd)
    return staged


def replace(target: Path) -> None:
    """Rename the staged file over `target`; `sync_directory` makes that durable."""
    with _publishing(target):
        _staged(target).rename(target)


def sync_directory(directory: Path) -> None:
    """Make the renames in `directory` durable."""
    with _explained(directory.name):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write(target: Path, data: bytes, *, mode: int = 0o640, new_mtime: bool = False) -> None:
    """Make `data` the content of `target`, durably; for the arguments see `stage`."""
    stage(target, data, mode=mode, new_mtime=new_mtime)
    replace(target)
    sync_directory(target.parent)


class InstanceLock:
    """Held while one instance works on the state in `directory`; ends with the process at latest.

    Raises AlreadyRunning if another process holds it, ConfigError if the directory cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._fd = -1

    def __enter__(self) -> InstanceLock:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC  # not for children
        try:
            self._fd = os.open(self._path, flags, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._close()
            raise AlreadyRunning(
                "Another instance runs on this state directory; stop it first."
            ) from error
        except OSError as error:
            self._close()
            raise ConfigError(
                "[state] directory cannot be used; create it, writable for the service's user."
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _staged(target: Path) -> Path:
    return target.with_name(f".{target.name}.new")


@contextlib.contextmanager
def _publishing(target: Path) -> Iterator[None]:
    """Remove the staged file, as far as possible, if the block fails."""
    with _explained(target.name):
        try:
            yield
        except OSError:
            with contextlib.suppress(OSError):
                _staged(target).unlink()
            raise


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "the log has the cause; check the disk")
        raise PublishFailed(f"The file {name} cannot be written: {remedy}.") from error


def _own(fd: int, directory: Path) -> None:
    """Give the new file the directory's group, and as root its owner, where that is permitted."""
    there = directory.stat()
    with contextlib.suppress(PermissionError):
        os.fchown(fd, there.st_uid if os.geteuid() == 0 else -1, there.st_gid)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        written = os.write(fd, rest)
        if not written:
            raise OSError(errno.EIO, "write(2) wrote nothing")
        rest = rest[written:]


def _later_than(target: Path) -> int:
    """Now, or the next whole second after the target's time if that is later; in nanoseconds."""
    now = time.time_ns()
    try:
        old = target.stat().st_mtime_ns
    except FileNotFoundError:
        return now
    return max(now, (old // _SECOND + 1) * _SECOND)
