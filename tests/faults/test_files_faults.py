"""Each system call of a write fails in turn, and a real disk is full."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailapi import files
from mailapi.errors import PublishFailed

OLD = b"old " * 1000
NEW = b"new!" * 2000

# The calls of one `write`, in order, with how many of each there are.
CALLS = {
    "unlink": 1,
    "open": 2,
    "stat": 2,
    "fchown": 1,
    "fchmod": 1,
    "write": 1,
    "utime": 1,
    "fsync": 2,
    "close": 2,
    "rename": 1,
}
FAULTS = [(name, nth) for name, count in CALLS.items() for nth in range(count)]


def fail(monkeypatch: pytest.MonkeyPatch, name: str, nth: int, number: int) -> None:
    """Call `nth` of os.`name` raises; a close still closes, as close(2) does."""
    real: Callable[..., Any] = getattr(os, name)
    seen = 0

    def faulty(*args: Any, **kw: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen != nth + 1:
            return real(*args, **kw)
        if name == "close":
            real(*args)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, faulty)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(("name", "nth"), FAULTS)
def test_any_failing_call_leaves_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, nth: int, number: int
) -> None:
    """Each failure is reported, the target is complete, nothing is left, and a retry succeeds."""
    target = tmp_path / "virtual_mailbox_maps"
    files.write(target, OLD)
    with monkeypatch.context() as patch:
        fail(patch, name, nth, number)
        with pytest.raises(PublishFailed) as caught:
            files.write(target, NEW, new_mtime=True)
    assert isinstance(caught.value.__cause__, OSError)
    assert str(tmp_path) not in caught.value.msg
    renamed = (name, nth) in {("open", 1), ("fsync", 1), ("close", 1)}  # those of the directory
    assert target.read_bytes() == (NEW if renamed else OLD)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    files.write(target, NEW)
    assert target.read_bytes() == NEW


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) may take a part only; the rest follows until all is there."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    files.write(tmp_path / "users", NEW)
    assert (tmp_path / "users").read_bytes() == NEW


@pytest.mark.parametrize("last", [0, OSError(errno.ENOSPC, "full")])
def test_a_write_that_stops_half_way_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int | OSError
) -> None:
    """A short write and then an error, or no progress at all: the target is untouched."""
    target = tmp_path / "users"
    files.write(target, OLD)
    real, calls = os.write, iter([100])

    def faulty(fd: int, data: memoryview) -> int:
        if size := next(calls, 0):
            return real(fd, data[:size])
        if isinstance(last, OSError):
            raise last
        return last

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", faulty)
        with pytest.raises(PublishFailed):
            files.write(target, NEW)
    assert target.read_bytes() == OLD
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_forbidden_change_of_owner_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service outside the directory's group keeps its own group."""
    fail(monkeypatch, "fchown", 0, errno.EPERM)
    files.write(tmp_path / "users", NEW)
    assert (tmp_path / "users").read_bytes() == NEW


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine allows no mount")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk_keeps_the_old_content(full_disk: Path) -> None:
    """What does not fit is reported as a full disk and removed, and what fits goes on working."""
    target = full_disk / "users"
    files.write(target, b"old")
    with pytest.raises(PublishFailed, match="disk is full"):
        files.write(target, b"x" * 100_000)
    assert target.read_bytes() == b"old"
    assert [path.name for path in full_disk.iterdir()] == ["users"]
    files.write(target, b"y" * 20_000)
    assert target.read_bytes() == b"y" * 20_000
