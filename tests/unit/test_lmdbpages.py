"""Whether an LMDB file has all the pages that its trees need."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import lmdb
import pytest

from mailapi.lmdbpages import is_whole

PAGE = 4096


def records(path: Path, count: int) -> bytes:
    """A map of so many records, some of them on pages of their own, changed several times."""
    source = random.Random(count)
    with lmdb.open(str(path), subdir=False, lock=False, map_size=1 << 28) as env:
        for _ in range(4):
            with env.begin(write=True) as txn:
                for number in source.sample(range(count * 2), count):
                    size = 5000 if number % 97 == 1 else number % 50
                    txn.put(b"user%d" % number, b"x" * size)
                for number in source.sample(range(count * 2), count // 2):
                    txn.delete(b"user%d" % number)
    return path.read_bytes()


@pytest.mark.parametrize("count", [0, 1, 10, 200, 3000, 20_000])
def test_what_lmdb_wrote_is_whole(tmp_path: Path, count: int) -> None:
    """Empty, of one page, of several levels, with free pages and values of several pages."""
    assert is_whole(records(tmp_path / "map", count))


def test_a_file_without_its_end_is_not_whole(tmp_path: Path) -> None:
    """Whatever is missing."""
    data = records(tmp_path / "map", 3000)
    for end in range(2 * PAGE, len(data), PAGE):
        assert not is_whole(data[:end])
    assert not is_whole(data[:-1])


def test_a_page_that_its_tree_needs_is_missed(tmp_path: Path) -> None:
    """Zeros in the place of a page, or another page: seen, unless nothing refers to it."""
    path = tmp_path / "map"
    with lmdb.open(str(path), subdir=False, lock=False) as env, env.begin(write=True) as txn:
        for number in range(3000):
            txn.put(b"user%06d" % number, b"OK")
    data = path.read_bytes()
    pages = range(2 * PAGE, len(data), PAGE)
    assert len(pages) > 10
    for start in pages:  # written once, in one transaction: all are needed
        assert not is_whole(data[:start] + bytes(PAGE) + data[start + PAGE :])
        other = data[2 * PAGE : 3 * PAGE] if start != 2 * PAGE else data[3 * PAGE : 4 * PAGE]
        assert not is_whole(data[:start] + other + data[start + PAGE :])


def test_pointers_out_of_their_page_are_seen(tmp_path: Path) -> None:
    """An entry that would begin outside of the page, or before its data."""
    data = records(tmp_path / "map", 10)
    root = newest_root(data)
    for place in (0, 8, PAGE - 7, 0xFFFF):
        start = root * PAGE + 16
        assert not is_whole(data[:start] + struct.pack("<H", place) + data[start + 2 :])
    for lower in (0, 16, 17, 0xFFFF):
        start = root * PAGE + 12
        assert not is_whole(data[:start] + struct.pack("<H", lower) + data[start + 2 :])


def newest_root(data: bytes) -> int:
    """The root page of the map, from the meta page of the last transaction."""
    metas = [
        struct.unpack_from("<QQQ", data, page * PAGE + 16 + 24 + 2 * 48 - 8) for page in (0, 1)
    ]
    return int(max(metas, key=lambda meta: meta[2])[0])


def test_trees_without_end_are_seen(tmp_path: Path) -> None:
    """A branch that leads to itself, and a depth that is not the tree's."""
    data = records(tmp_path / "map", 3000)
    root = newest_root(data)
    depth = [page * PAGE + 16 + 24 + 48 + 6 for page in (0, 1)]
    for wrong in (0, 1, 9, 60_000):
        spoiled = bytearray(data)
        for place in depth:
            struct.pack_into("<H", spoiled, place, wrong)
        assert not is_whole(bytes(spoiled))
    spoiled = bytearray(data)
    (first,) = struct.unpack_from("<H", data, root * PAGE + 16)
    struct.pack_into("<HHH", spoiled, root * PAGE + first, root, 0, 0)
    assert not is_whole(bytes(spoiled))


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"text\n" * 5000, bytes(3 * PAGE), b"\xff" * 3 * PAGE],
    ids=["nothing", "an octet", "text", "zeros", "ones"],
)
def test_other_files_are_left_to_lmdb(data: bytes) -> None:
    """It says itself that they are no map."""
    assert is_whole(data)


def test_random_damage_never_raises(tmp_path: Path) -> None:
    """Whatever the octets, there is an answer."""
    data = records(tmp_path / "map", 500)
    source = random.Random(0)
    for _ in range(500):
        spoiled = bytearray(data)
        for _ in range(source.choice([1, 10, 200])):
            spoiled[source.randrange(len(spoiled))] = source.randrange(256)
        assert is_whole(bytes(spoiled)) in (True, False)
        assert is_whole(bytes(spoiled[: source.randrange(len(spoiled))])) in (True, False)
