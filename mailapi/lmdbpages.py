"""Whether the pages of an LMDB file are what its trees take them for.

LMDB trusts its file: it ends the process (assert, SIGBUS) when it comes upon a page that was lost,
as after a fault of the disk or the file system. So a map is looked through before LMDB reads it:
both trees of the newest meta page, page by page, without their entries. A map of a hundred thousand
entries takes some milliseconds.

Source: the structures MDB_page, MDB_meta, MDB_db and MDB_node of LMDB 0.9, on 64-bit little-endian
machines. Files of another format are not judged, but found to be whole.
"""

from __future__ import annotations

import struct
from mmap import mmap
from typing import Final

Buffer = bytes | mmap

_MAGIC: Final = 0xBEEFC0DE
_META: Final = struct.Struct("<16xII16x")  # magic, version
_DB: Final = struct.Struct("<IHHQQQQQ")  # page size, flags, depth, 3 counts, entries, root
_LAST: Final = struct.Struct("<QQ")  # last page, transaction
_PAGE: Final = struct.Struct("<Q2xHHH")  # number, flags, lower, upper
_CHILD: Final = struct.Struct("<HHH")  # the page number of a branch's node
_NONE: Final = 2**64 - 1
_BRANCH, _LEAF = 1, 2


def is_whole(data: Buffer) -> bool:
    """`data` is all of the file. False if a page that one of its trees needs is not in it."""
    page_size, depths, last = _newest(data)
    if not page_size:
        return True
    if len(data) < (last + 1) * page_size:
        return False
    return all(_tree(data, page_size, last, root, depth) for depth, root in depths)


def _newest(data: Buffer) -> tuple[int, list[tuple[int, int]], int]:
    """Of the newest meta page: the page size, depth and root of both trees, the last page."""
    found = []
    size = _DB.unpack_from(data, _META.size)[0] if len(data) >= 512 else 0
    for start in (0, size):
        if (
            size >= 512
            and len(data) >= start + size
            and _META.unpack_from(data, start)[0] == _MAGIC
        ):
            trees = [_DB.unpack_from(data, start + _META.size + n * _DB.size) for n in (0, 1)]
            last, txn = _LAST.unpack_from(data, start + _META.size + 2 * _DB.size)
            found.append((txn, [(tree[2], tree[7]) for tree in trees], last))
    if not found:
        return 0, [], 0
    _, depths, last = max(found)
    return size, depths, last


def _tree(data: Buffer, size: int, last: int, root: int, depth: int) -> bool:
    """Every page is there, is of the right kind, and has its entries inside."""
    level, seen = [root] if root != _NONE else [], 0
    while level:
        depth -= 1
        seen += len(level)
        below: list[int] = []
        for number in level:
            start = number * size
            if number > last or seen > last:
                return False
            found, flags, lower, upper = _PAGE.unpack_from(data, start)
            if found != number or flags != (_BRANCH if depth else _LEAF):
                return False
            if not 18 <= lower <= upper <= size:
                return False
            places = struct.unpack_from(f"<{(lower - 16) // 2}H", data, start + 16)
            if min(places) < upper or max(places) > size - 8:
                return False
            if depth:
                below += [_child(data, start + place) for place in places]
        level = below
    return True


def _child(data: Buffer, start: int) -> int:
    low, middle, high = _CHILD.unpack_from(data, start)
    return int(low | middle << 16 | high << 32)
