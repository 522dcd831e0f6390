"""What is rendered parses back, and what is not in normal form is never rendered."""

from __future__ import annotations

import re

import oracle
import pytest
import states
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import State

from mailapi.entries import FILES
from mailapi.errors import Unrenderable
from mailapi.render import Renderer
from mailapi.whole import whole

RENDERER = Renderer()
BY_NAME = {file.name: file for file in FILES}
TOKEN = re.compile(r"[A-Za-z0-9.@!#$&'*+/=?^_`{|}~-]{1,320}")
KEY = re.compile(r"[a-z0-9.@'+_-]{1,320}")
HASH = re.compile(r"\{[A-Z0-9-]+\}[A-Za-z0-9./+=$,]+")


@settings(deadline=None, max_examples=200)
@given(states.states())
def test_the_files_say_what_the_oracle_expects(state: State) -> None:
    """Two ways to work out the files of any state, independent of each other, agree."""
    with states.database(state) as db:
        found = oracle.parse(whole(db, RENDERER))
    db.close()
    assert oracle.compare(oracle.expected(state), found) == []


@settings(deadline=None)
@given(
    st.from_regex(KEY, fullmatch=True), st.lists(st.from_regex(TOKEN, fullmatch=True), min_size=1)
)
def test_tokens_in_normal_form_parse_back(key: str, targets: list[str]) -> None:
    """Whatever the tokens, the line is the key, a blank, and the tokens between commas."""
    for name in ("virtual_alias_maps", "smtpd_sender_login_maps"):
        [line] = RENDERER.lines(BY_NAME[name], [(key, tuple(targets))])
        found, _, rest = line.decode("ascii").removesuffix("\n").partition(" ")
        assert found == key
        assert rest == ", ".join(targets)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_other_text_is_refused(text: str) -> None:
    """As a key, a target or a hash: in normal form and rendered, or refused."""
    key_ok, token_ok = KEY.fullmatch(text), TOKEN.fullmatch(text)
    rows = [
        ("virtual_alias_maps", (text, ("a@b.example",)), key_ok),
        ("virtual_alias_maps", ("a@b.example", ("a@b.example", text)), token_ok),
        ("users", ("a@b.example", text, 1, 1), token_ok or HASH.fullmatch(text)),
    ]
    for name, row, fine in rows:
        if fine:
            [line] = RENDERER.lines(BY_NAME[name], [row])
            assert line.count(b"\n") == 1
        else:
            with pytest.raises(Unrenderable):
                RENDERER.lines(BY_NAME[name], [row])
