"""Properties of the address grammar, for any text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailapi import addresses

ANY_TEXT = st.text(st.characters(exclude_categories=()))
NEAR_DOMAINS = st.from_regex(
    r"[A-Za-z0-9ßéİK\u200d\u00adäя漢א.-]{1,40}(\.[a-z]{2,3})?\n?", fullmatch=True
)
NEAR_A_LABELS = st.from_regex(r"[xX]n--[a-z0-9-]{1,20}\.[a-z]{2,3}", fullmatch=True)
NEAR_ADDRESSES = st.from_regex(
    r"""[A-Za-z0-9_'+!#$%&*/=?^`{|}~" .-]{0,20}@?[A-Za-zä0-9.-]{1,20}\.[a-z]{2,3}\n?""",
    fullmatch=True,
)
NEAR = ANY_TEXT | NEAR_DOMAINS | NEAR_A_LABELS | NEAR_ADDRESSES
V = TypeVar("V")
R = TypeVar("R")

FUNCTIONS = [
    addresses.domain,
    addresses.local_part,
    addresses.alias_local_part,
    addresses.address,
    addresses.alias_address,
    addresses.target,
]


def outcome(function: Callable[[V], R], text: V) -> R | None:
    """The result, or None after a refusal; anything but a plain ValueError fails the test."""
    try:
        return function(text)
    except ValueError as exc:
        refusal = exc
    assert type(refusal) is ValueError, "a subclass may repeat the text"
    assert str(refusal).startswith("must be ")
    return None


@pytest.mark.parametrize("function", FUNCTIONS)
@given(text=NEAR)
@example("x" * 1_000_000)
@example("\u00e4." * 500_000)
@example("a@" + "\u00e4" * 1_000_000)
@example("xn--" + "9" * 59 + ".com")
@example("xn--" + "z" * 59 + ".com")
def test_results_are_stable_tokens(function: Callable[[str], str], text: str) -> None:
    """Any text gives a token that gives itself again, or a ValueError without the text."""
    result = outcome(function, text)
    if result is not None:
        assert addresses.is_normal_token(result)
        assert function(result) == result


@given(NEAR_DOMAINS | NEAR_A_LABELS)
def test_either_form_of_a_domain_is_the_same(text: str) -> None:
    """What is shown to people leads back to the domain."""
    name = outcome(addresses.domain, text)
    if name is not None:
        assert addresses.domain(addresses.display(name)) == name
        assert addresses.domain(name.upper()) == name


@given(st.lists(NEAR_ADDRESSES, max_size=5) | NEAR_ADDRESSES | ANY_TEXT)
def test_targets_are_stable(value: str | list[str]) -> None:
    """Targets joined by commas give the same targets."""
    found = outcome(addresses.targets, value)
    if found is not None:
        assert len(set(found)) == len(found) > 0
        assert addresses.targets(",".join(found)) == found


@given(NEAR_ADDRESSES)
def test_base_is_an_address_without_a_tag(text: str) -> None:
    """Taking the tag off an alias's address twice is the same as once."""
    found = outcome(addresses.alias_address, text)
    if found is not None:
        base = addresses.base(found)
        assert addresses.alias_address(base) == base == addresses.base(base)
        assert addresses.split(base)[1] == addresses.split(found)[1]


@given(ANY_TEXT)
def test_token_is_printable_ascii(text: str) -> None:
    """No token holds a character that could end a field, a key or a line."""
    if addresses.is_normal_token(text):
        assert text.isascii()
        assert text.isprintable()
        assert not set(text) & set(' ,:;"\\%<>()[]')
