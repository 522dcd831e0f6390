"""Names of folders and the patterns of `exclude`."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailapi.syncrunner import names

WORDS = st.text("ab/*%", max_size=8)


def said(pattern: str) -> str:
    """The pattern as a regular expression: right, but slow."""
    return "".join({"*": ".*", "%": "[^/]*"}.get(sign, re.escape(sign)) for sign in pattern)


@given(st.text("ab/", max_size=8), st.lists(WORDS, max_size=3))
def test_patterns_mean_what_they_say(name: str, patterns: list[str]) -> None:
    """All patterns at once match what one of their regular expressions does."""
    expected = any(re.fullmatch(said(one), name, re.DOTALL) for one in patterns)
    assert names.excluded(name, patterns) is expected


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", ["*" * 250 + "z", "*a" * 120 + "z", "%a*" * 80 + "z"])
def test_no_pattern_takes_long(pattern: str) -> None:
    """A hundred of the worst patterns cost a long name milliseconds."""
    begin = time.monotonic()
    assert not names.excluded("a" * 400, [pattern] * 100)
    assert time.monotonic() - begin < 2


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["&" * 500_000, "&a" * 250_000, "&" + "a" * 500_000])
def test_no_name_takes_long(name: str) -> None:
    """What is no modified UTF-7 is found to be so at once."""
    begin = time.monotonic()
    names.decode(name)
    assert time.monotonic() - begin < 2
