"""Maps that are damaged or missing, and disks that are full."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lmdb
import oracle
import pytest

from mailapi.errors import PublishFailed
from mailapi.lmdbmap import LmdbMap

CONTENT = {b"user%d@a.example" % number: b"OK" for number in range(500)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "virtual_mailbox_maps"


def file_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lmdb")


@pytest.fixture
def good(path: Path) -> bytes:
    """The bytes of a map with CONTENT, which is at `path`."""
    with contextlib.closing(LmdbMap(path)) as table:
        table.sync(CONTENT)
    return file_of(path).read_bytes()


def postmap_lists(path: Path) -> dict[bytes, bytes]:
    """What `postmap -s` lists: the map as Postfix reads it."""
    oracle.require_postmap()
    run = subprocess.run(["postmap", "-s", f"lmdb:{path}"], capture_output=True)
    assert not run.stderr
    lines = run.stdout.splitlines()
    return {key: value for key, _, value in (line.partition(b"\t") for line in lines)}


def zeroed(good: bytes, start: int, end: int) -> bytes:
    return good[:start] + bytes(len(good[start:end])) + good[end:]


def with_flag(good: bytes, page: int) -> bytes:
    """MDB_DUPSORT in the flags of the main database, in a meta page."""
    place = page + 16 + 24 + 48 + 4
    return good[:place] + b"\x04" + good[place + 1 :]


DAMAGES = {
    "empty": lambda good: b"",
    "one octet": lambda good: b"x",
    "text": lambda good: b"ann@a.example OK\n" * 1000,
    "zeros": lambda good: bytes(len(good)),
    "half the first page": lambda good: good[:2048],
    "only the first page": lambda good: good[:4096],
    "no meta pages": lambda good: zeroed(good, 0, 8192),
    "several values a key": lambda good: with_flag(with_flag(good, 0), 4096),
    "another magic number": lambda good: good.replace(b"\xde\xc0\xef\xbe", b"\xde\xc0\xef\xbf"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_no_map_is_rebuilt(path: Path, good: bytes, damage: str) -> None:
    """It counts as empty; a difference is refused, the whole content makes a new map."""
    file_of(path).write_bytes(DAMAGES[damage](good))
    with contextlib.closing(LmdbMap(path)) as table:
        assert table.count() == 0
        assert list(table.entries()) == []
        with pytest.raises(PublishFailed, match="apply everything again"):
            table.update({b"ann@a.example": b"OK"}, [])
        assert table.sync(CONTENT) == (len(CONTENT), 0)
        assert postmap_lists(path) == CONTENT
        table.update({b"ann@a.example": b"OK"}, [])
        assert table.count() == len(CONTENT) + 1
    assert [entry.name for entry in path.parent.iterdir()] == [file_of(path).name]


def test_a_missing_file_is_made_by_sync_only(path: Path) -> None:
    """A difference alone would make a map with holes."""
    with contextlib.closing(LmdbMap(path)) as table:
        assert table.count() == 0
        with pytest.raises(PublishFailed, match="apply everything again"):
            table.update({b"ann@a.example": b"OK"}, [])
        assert not file_of(path).exists()
        table.sync(CONTENT)
        file_of(path).unlink()  # while it is open
        with pytest.raises(PublishFailed):
            table.update({b"ann@a.example": b"OK"}, [])
        table.sync(CONTENT)
    assert postmap_lists(path) == CONTENT


def test_a_map_of_maps_is_rebuilt(path: Path) -> None:
    """A file with named databases, as other programs make them, is no map of Postfix's."""
    environment = lmdb.open(str(file_of(path)), subdir=False, lock=False, max_dbs=1)
    with environment as env, env.begin(write=True) as txn:
        txn.put(b"user1@a.example\0", b"OK\0", db=env.open_db(b"user2@a.example", txn=txn))
    with contextlib.closing(LmdbMap(path)) as table:
        table.sync(CONTENT)
        assert dict(table.entries()) == CONTENT
    assert postmap_lists(path) == CONTENT


SYNC = """
import sys
from pathlib import Path
from mailapi.lmdbmap import LmdbMap
table = LmdbMap(Path(sys.argv[1]))
table.sync({b"user%d@a.example" % number: b"OK" for number in range(500)})
print(table.count())
"""


@pytest.mark.parametrize("pages", [2, 3, 4, 5, 6])
def test_a_file_that_was_cut_off_kills_nobody(path: Path, good: bytes, pages: int) -> None:
    """Reading beyond the end of a mapped file would; it is rebuilt instead."""
    assert len(good) > pages * 4096
    file_of(path).write_bytes(good[: pages * 4096])
    run = subprocess.run([sys.executable, "-c", SYNC, path], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("500\n")
    assert postmap_lists(path) == CONTENT


@pytest.mark.parametrize("content", [bytes(4096), b"\xa5" * 4096], ids=["zeros", "garbage"])
def test_a_lost_page_kills_nobody(path: Path, good: bytes, content: bytes) -> None:
    """LMDB itself would end the process; any page that is needed and not there means a rebuild."""
    for start in range(8192, len(good), 4096):
        file_of(path).write_bytes(good[:start] + content + good[start + 4096 :])
        with contextlib.closing(LmdbMap(path)) as table:
            table.sync(CONTENT)
            assert dict(table.entries()) == CONTENT
        assert postmap_lists(path) == CONTENT


@pytest.mark.parametrize("what", ["file", "link to nowhere", "directory"])
def test_a_leftover_of_a_rebuild_does_not_stop_the_next(path: Path, what: str) -> None:
    """Whatever has the staged file's name is replaced, or reported, and never followed."""
    staged = path.with_name(f".{path.name}.lmdb.new")
    if what == "file":
        staged.write_bytes(b"half a map")
    elif what == "directory":
        staged.mkdir()
    else:
        staged.symlink_to(path.parent / "victim")
    with contextlib.closing(LmdbMap(path)) as table:
        if what == "directory":
            with pytest.raises(PublishFailed):
                table.sync(CONTENT)
            staged.rmdir()
        table.sync(CONTENT)
    assert postmap_lists(path) == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == [file_of(path).name]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine allows no mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


TOO_MUCH = {b"new%d@a.example" % number: b"x" * 400 for number in range(2000)}


def test_a_full_disk_keeps_the_old_content(small_disk: Path) -> None:
    """Update, sync and renew say so; the old entries stand, and what fits works again."""
    path = small_disk / "virtual_mailbox_maps"
    with contextlib.closing(LmdbMap(path)) as table:
        table.sync(CONTENT)
        for call in (
            lambda: table.update(TOO_MUCH, []),
            lambda: table.sync(TOO_MUCH),
            lambda: table.update(TOO_MUCH, CONTENT),
        ):
            with pytest.raises(PublishFailed, match="disk is full"):
                call()
            assert dict(table.entries()) == CONTENT
            assert postmap_lists(path) == CONTENT
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(1024)):
                pass
        inode = file_of(path).stat().st_ino
        with pytest.raises(PublishFailed, match="disk is full"):
            table.renew()
        assert file_of(path).stat().st_ino == inode
        assert postmap_lists(path) == CONTENT
        filler.unlink()
        table.update({b"ann@a.example": b"OK"}, list(CONTENT)[1:])
        assert sorted(postmap_lists(path)) == [b"ann@a.example", b"user0@a.example"]
    assert [entry.name for entry in small_disk.iterdir()] == [file_of(path).name]


def test_a_first_map_that_does_not_fit_leaves_nothing(small_disk: Path) -> None:
    """There is no half of a map, and no leftover that keeps the disk full."""
    with contextlib.closing(LmdbMap(small_disk / "users")) as table:
        with pytest.raises(PublishFailed, match="disk is full"):
            table.sync(TOO_MUCH)
        assert list(small_disk.iterdir()) == []
        table.sync(CONTENT)
        assert table.count() == len(CONTENT)


def test_a_map_that_reaches_its_limit_keeps_the_old_content(path: Path) -> None:
    """The limit of its size is not the disk's, and is reported as such."""
    with contextlib.closing(LmdbMap(path, map_size=1 << 18)) as table:
        table.sync(CONTENT)
        with pytest.raises(PublishFailed, match="limit"):
            table.update(TOO_MUCH, [])
        assert dict(table.entries()) == CONTENT
        table.update({b"ann@a.example": b"OK"}, [])
    assert postmap_lists(path) == {**CONTENT, b"ann@a.example": b"OK"}


def test_a_message_names_no_path(path: Path) -> None:
    """It names the map and what to do; the cause is kept for the log."""
    with (
        contextlib.closing(LmdbMap(path / "gone")) as table,
        pytest.raises(PublishFailed) as caught,
    ):
        table.sync(CONTENT)
    assert "gone" in caught.value.msg
    assert str(path) not in caught.value.msg
    assert isinstance(caught.value.__cause__, OSError)
