"""The text of an API key."""

from __future__ import annotations

import hashlib
import secrets

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailapi import keys

KEY = "mapi_0000000000000000000000000000000000000000000"
ANY_TEXT = st.text(st.characters(exclude_categories=()))


def test_new_keys_are_well_formed_and_differ() -> None:
    """A key is a prefix, 43 digits and a checksum of 6, and never comes twice."""
    found = {keys.new() for _ in range(1000)}
    assert len(found) == 1000
    assert all(key.startswith("mapi_") and len(key) == 54 for key in found)
    assert all(keys.well_formed(key) for key in found)


def test_extreme_numbers_keep_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least number is filled up with zeros, the greatest fits."""
    monkeypatch.setattr(secrets, "randbits", lambda bits: 0)
    assert keys.new().startswith(KEY)
    monkeypatch.setattr(secrets, "randbits", lambda bits: 2**bits - 1)
    assert len(keys.new()) == 54
    assert keys.well_formed(keys.new())


def test_the_checksum_is_the_crc32_in_base62() -> None:
    """A known key: keys given out must stay valid with every later version."""
    assert keys.well_formed(KEY + "4D41at")


@given(place=st.integers(0, 53), char=st.characters(exclude_categories=()))
def test_one_changed_character_is_noticed(place: int, char: str) -> None:
    """CRC-32 finds every single changed character; those outside base62 never pass."""
    key = keys.new()
    changed = key[:place] + char + key[place + 1 :]
    assert keys.well_formed(changed) == (changed == key)


@given(ANY_TEXT)
@example("\ud800")
def test_any_text_has_a_digest_and_no_form(text: str) -> None:
    """Text beyond ASCII, halves of surrogate pairs included, raises nothing."""
    assert len(keys.digest(text)) == 32
    assert not keys.well_formed(text)
    assert not keys.well_formed(KEY + text)


@pytest.mark.parametrize("tail", ["\n", " ", "0"])
def test_nothing_may_follow(tail: str) -> None:
    """A key with a line break or anything else after it is not well formed."""
    assert not keys.well_formed(keys.new() + tail)


def test_digest_is_sha256() -> None:
    """The database keeps the plain SHA-256 of the key's text."""
    key = keys.new()
    assert keys.digest(key) == hashlib.sha256(key.encode()).digest()
