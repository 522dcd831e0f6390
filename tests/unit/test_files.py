"""Files written beside their target, and the lock of one instance."""

from __future__ import annotations

import itertools
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from mailapi import files
from mailapi.errors import AlreadyRunning, ConfigError, PublishFailed

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_write_replaces_the_whole_content(tmp_path: Path) -> None:
    """The target holds exactly the new bytes, also if they are fewer, and nothing is left over."""
    target = tmp_path / "virtual_alias_maps"
    for data in (b"a long first content\n" * 1000, b"short\n", b""):
        files.write(target, data)
        assert target.read_bytes() == data
        assert names(tmp_path) == {target.name}


def test_staging_leaves_the_target_alone(tmp_path: Path) -> None:
    """Until `replace` the target is the old file; the staged one has a name that never varies."""
    target = tmp_path / "users"
    files.write(target, b"old")
    assert files.stage(target, b"new") == tmp_path / ".users.new"
    assert target.read_bytes() == b"old"
    files.replace(target)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o644])
def test_the_mode_is_exact(tmp_path: Path, mode: int) -> None:
    """The umask takes nothing away from the mode."""
    umask = os.umask(0o077)
    try:
        files.write(tmp_path / "users", b"", mode=mode)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "users").stat().st_mode) == mode


def test_no_byte_is_written_before_mode_and_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Owner, mode, content, fsync, in this order: others can never read the passwd-file."""
    calls = []
    for name in ("fchown", "fchmod", "write", "fsync", "rename"):
        real = getattr(os, name)

        def spy(*args: object, _real: object = real, _name: str = name, **kw: object) -> object:
            calls.append(_name)
            return _real(*args, **kw)  # type: ignore[operator]  # the real system call

        monkeypatch.setattr(os, name, spy)
    files.write(tmp_path / "users", b"secret")
    assert calls == ["fchown", "fchmod", "write", "fsync", "rename", "fsync"]


@ROOT
def test_the_directory_gives_owner_and_group(tmp_path: Path) -> None:
    """As root the file belongs to whom the directory belongs."""
    os.chown(tmp_path, 12345, 23456)
    files.write(tmp_path / "users", b"")
    status = (tmp_path / "users").stat()
    assert (status.st_uid, status.st_gid) == (12345, 23456)


@ROOT
def test_a_leftover_of_another_user_is_replaced() -> None:
    """A leftover that the service may not open for writing does not stop it for good."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to other users
        directory = Path(name)
        os.chown(directory, 12345, 12345)
        (directory / ".users.new").write_bytes(b"root's")
        os.seteuid(12345)
        try:
            files.write(directory / "users", b"new")
        finally:
            os.seteuid(0)
        assert (directory / "users").read_bytes() == b"new"
        assert names(directory) == {"users"}


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    """A link in the staged file's place is replaced; what it points to stays as it is."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".users.new").symlink_to(victim)
    files.write(tmp_path / "users", b"new")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "users").is_symlink()


def test_new_mtime_is_always_in_a_later_second(tmp_path: Path) -> None:
    """Many writes in one second get as many different whole seconds, none before now."""
    target = tmp_path / "users"
    begin = int(time.time())
    seconds = []
    for number in range(5):
        files.write(target, b"%d" % number, new_mtime=True)
        seconds.append(int(target.stat().st_mtime))
    assert seconds[0] >= begin
    assert all(later > earlier for earlier, later in itertools.pairwise(seconds))


def test_new_mtime_follows_a_target_from_the_future(tmp_path: Path) -> None:
    """After the clock was put back, the time still moves on from the old file's."""
    target = tmp_path / "users"
    target.write_bytes(b"old")
    future = int(time.time()) + 3600
    os.utime(target, (future, future))
    files.write(target, b"new", new_mtime=True)
    assert target.stat().st_mtime == future + 1


def test_without_new_mtime_the_time_is_now(tmp_path: Path) -> None:
    """A plain write leaves the file's time to the kernel."""
    target = tmp_path / "users"
    target.write_bytes(b"old")
    os.utime(target, (2e9 + 1e9, 2e9 + 1e9))
    files.write(target, b"new")
    assert abs(target.stat().st_mtime - time.time()) < 60


def test_readers_see_old_or_new_never_a_part(tmp_path: Path) -> None:
    """A reader beside 300 writes always reads one complete content."""
    target = tmp_path / "users"
    size = 100_000
    files.write(target, b"\0" * size)
    done = threading.Event()
    torn: list[int] = []

    def read() -> None:
        while not done.is_set():
            data = target.read_bytes()
            if len(data) != size or len(set(data)) != 1:
                torn.append(len(data))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(300):
        files.write(target, bytes([number % 256]) * size)
    done.set()
    reader.join()
    assert not torn


def test_a_missing_directory_is_said_without_a_path(tmp_path: Path) -> None:
    """The message names the file and the remedy, and no path; the cause is kept."""
    with pytest.raises(PublishFailed) as caught:
        files.write(tmp_path / "gone" / "users", b"x")
    assert "users" in caught.value.msg
    assert "create it" in caught.value.msg
    assert "/" not in caught.value.msg
    assert isinstance(caught.value.__cause__, FileNotFoundError)


HOLDER = """
import sys
from pathlib import Path
from mailapi.files import InstanceLock
with InstanceLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_instance_is_refused(tmp_path: Path) -> None:
    """While a process holds the lock no other gets it; killed, it leaves the lock free."""
    with holder(tmp_path) as process:
        with pytest.raises(AlreadyRunning, match="stop it"), files.InstanceLock(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with files.InstanceLock(tmp_path):
            pass


def test_the_lock_ends_with_its_block(tmp_path: Path) -> None:
    """After the block, and also after a refusal, the lock can be taken again."""
    for _ in range(2):
        with files.InstanceLock(tmp_path):
            with pytest.raises(AlreadyRunning), files.InstanceLock(tmp_path):
                pass
            with pytest.raises(AlreadyRunning), files.InstanceLock(tmp_path):
                pass


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    """A child that outlives the block, even with all descriptors kept, does not hold the lock."""
    with files.InstanceLock(tmp_path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with files.InstanceLock(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_state_directory_that_is_missing_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    """Not `AlreadyRunning`: nobody runs there."""
    with pytest.raises(ConfigError, match="directory"), files.InstanceLock(tmp_path / "gone"):
        pass
