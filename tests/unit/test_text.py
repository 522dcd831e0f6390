"""The text of one rendered file, changed line by line."""

from __future__ import annotations

import itertools

import pytest

from mailapi.text import Text, sort_key

KEYS = [b"@b.example", b"ann@b.example", b"b.example", b"bob@b.example", b"ann@c.example"]


def line(key: bytes, value: bytes = b"OK") -> bytes:
    return key + b" " + value + b"\n"


def filled(keys: list[bytes]) -> Text:
    return Text(b" ", b"".join(map(line, keys)))


def test_a_domain_stands_together() -> None:
    """The domain is the first thing that lines are sorted by, then the whole key in octets."""
    assert sorted(KEYS[3:] + KEYS[:3], key=sort_key) == KEYS


@pytest.mark.parametrize("order", list(itertools.permutations(KEYS[:4])))
def test_the_order_of_edits_does_not_matter(order: tuple[bytes, ...]) -> None:
    """Lines put one by one in any order, or all at once, give the same bytes."""
    one_by_one = Text(b" ")
    for key in order:
        one_by_one.edit({key: line(key)})
    at_once = Text(b" ")
    at_once.edit({key: line(key) for key in order})
    assert one_by_one.data == at_once.data == filled(KEYS[:4]).data


@pytest.mark.parametrize("key", KEYS)
def test_each_line_is_found_replaced_and_removed(key: bytes) -> None:
    """At the beginning, in the middle and at the end; the other lines stay."""
    text = filled(KEYS)
    assert text.line(key) == line(key)
    assert text.edit({key: line(key, b"a longer value")}) == {key: line(key, b"a longer value")}
    assert dict(text.entries()) == {k: b"a longer value" if k == key else b"OK" for k in KEYS}
    assert text.edit({key: None}) == {key: None}
    assert text.data == filled([k for k in KEYS if k != key]).data
    assert text.line(key) is None


def test_what_is_so_already_is_no_change() -> None:
    """An edit that changes nothing is not returned, and the bytes are the very same object."""
    text = filled(KEYS)
    before = text.data
    assert text.edit({KEYS[0]: line(KEYS[0]), b"absent@b.example": None}) == {}
    assert text.edit({}) == {}
    assert text.data is before


def test_only_real_changes_are_returned() -> None:
    """Of several edits those are returned that changed a line, with the line or None."""
    text = filled(KEYS[:3])
    edits = {
        KEYS[0]: line(KEYS[0]),
        KEYS[1]: None,
        KEYS[2]: line(KEYS[2], b"new"),
        KEYS[3]: line(KEYS[3]),
        KEYS[4]: None,
    }
    changed = text.edit(edits)
    assert changed == {key: edits[key] for key in (KEYS[1], KEYS[2], KEYS[3])}
    assert text.data == line(KEYS[0]) + line(KEYS[2], b"new") + line(KEYS[3])


def test_a_key_is_not_found_by_its_beginning() -> None:
    """A key that begins like another, or ends like it, is another key."""
    text = filled([b"ann2@b.example", b"ann@b.example", b"joann@b.example"])
    assert text.line(b"an@b.example") is None
    text.edit({b"ann@b.example": None})
    assert text.data == filled([b"ann2@b.example", b"joann@b.example"]).data


def test_the_separator_ends_the_key() -> None:
    """In the passwd-file a colon does, and the value may hold more of them."""
    text = Text(b":")
    for key in KEYS[::-1]:
        text.edit({key: key + b":{BLF-CRYPT}x::::::quota=1 b:c\n"})
    assert list(text.entries()) == [(key, b"{BLF-CRYPT}x::::::quota=1 b:c") for key in KEYS]
    assert text.line(KEYS[1]) == KEYS[1] + b":{BLF-CRYPT}x::::::quota=1 b:c\n"


def test_len_counts_lines() -> None:
    """The empty text has no line."""
    assert [len(filled(KEYS[:n])) for n in range(6)] == list(range(6))


def test_an_empty_text_has_nothing() -> None:
    """No line, no entry, and removing is no change."""
    text = Text(b" ")
    assert text.line(KEYS[0]) is None
    assert list(text.entries()) == []
    assert text.edit({KEYS[0]: None}) == {}
