"""A change renders again only what it may have changed: `graph.closure` names all of that.

Random states, written as rows, are changed by random single changes, through the rules. After each
the lines of the closure's names are put into the old texts. That must give what rendering
everything gives.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
import states
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import State

from mailapi import graph
from mailapi.caller import Caller
from mailapi.entries import FILES
from mailapi.errors import Refused
from mailapi.render import Renderer
from mailapi.rules import aliases, domains, mailboxes
from mailapi.text import Text
from mailapi.txn import Txn
from mailapi.whole import edits, whole

RENDERER = Renderer()
CALLER = Caller("1", "test", "admin")
LIMITS = {"aliases": 99, "mailboxes": 99, "defquota": 1, "maxquota": 10_240, "quota": 10**6}

Change = Callable[[Txn], Any]


def add_domain(name: str, active: bool, backupmx: bool) -> Change:
    fields = {"domain": name, "active": active, "backupmx": backupmx, "description": "", **LIMITS}
    return functools.partial(domains.add, fields=fields)


def update_domain(name: str, fields: dict[str, Any]) -> Change:
    return functools.partial(domains.update, name=name, fields=fields, fixed={})


def remove_domain(name: str) -> Change:
    return functools.partial(domains.remove, name=name, cascade=True)


def add_mailbox(row: dict[str, Any]) -> Change:
    local_part, domain = row["email"].split("@")
    fields = {key: value for key, value in row.items() if key not in ("email", "generation")}
    fields |= {"local_part": local_part, "domain": domain, "name": ""}
    return functools.partial(mailboxes.add, fields=fields)


def update_mailbox(email: str, fields: dict[str, Any]) -> Change:
    return functools.partial(mailboxes.update, email=email, fields=fields, fixed={})


def remove_mailbox(email: str) -> Change:
    return functools.partial(mailboxes.remove, email=email)


def add_alias(row: dict[str, Any]) -> Change:
    return functools.partial(aliases.add, fields={**row, "description": ""})


def update_alias(number: int, fields: dict[str, Any]) -> Change:
    return functools.partial(aliases.update, alias_id=number, fields=fields, fixed={})


def remove_alias(number: int) -> Change:
    return functools.partial(aliases.remove, alias_id=number)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


numbers = st.integers(1, 8)  # of aliases
changes = st.one_of(
    st.builds(add_domain, states.our_domains, states.mostly, states.rarely),
    st.builds(
        update_domain, states.our_domains, some(active=states.switches, backupmx=states.switches)
    ),
    st.builds(remove_domain, states.our_domains),
    st.builds(add_mailbox, states.mailbox_rows),
    st.builds(
        update_mailbox,
        states.emails,
        some(
            active=states.switches,
            force_pw_update=states.switches,
            tls_enforce_in=states.switches,
            tls_enforce_out=states.switches,
            quota=st.sampled_from([1, 5]),
            password_hash=st.just(states.HASH.replace("a", "b")),
        ),
    ),
    st.builds(remove_mailbox, states.emails),
    st.builds(add_alias, states.alias_rows),
    st.builds(
        update_alias,
        numbers,
        some(address=states.alias_addresses, active=states.switches, goto=states.gotos),
    ),
    st.builds(remove_alias, numbers),
)


def make(db: sqlite3.Connection, change: Change, generation: int) -> tuple[set[str], set[str]]:
    """What the change touched; nothing, if a rule refuses it."""
    txn = Txn(db, CALLER, "request", generation)
    db.execute("SAVEPOINT change")
    try:
        change(txn)
    except Refused:
        db.execute("ROLLBACK TO change")
        return set(), set()
    finally:
        db.execute("RELEASE change")
    return txn.names, txn.deep


def follow(db: sqlite3.Connection, sequence: list[Change]) -> None:
    """Make the changes, and hold the edited texts to the rendered ones after each."""
    texts = {name: Text(b" ", data) for name, data in whole(db, RENDERER).items()}
    texts["users"].separator = b":"
    for generation, change in enumerate(sequence, 10):
        names, deep = make(db, change, generation)
        if not names and not deep:
            continue
        closure = graph.closure(db, names, deep)
        for name, lines in edits(db, RENDERER, sorted(closure)).items():
            texts[name].edit(lines)
        assert {name: text.data for name, text in texts.items()} == whole(db, RENDERER)


@settings(deadline=None)
@given(states.states(), st.lists(changes, min_size=1, max_size=5))
def test_rendering_the_closure_renders_everything(state: State, sequence: list[Change]) -> None:
    """After any change to any state, the closure's lines bring every file up to date."""
    db = states.database(state)
    follow(db, sequence)
    db.close()


@settings(deadline=None)
@given(st.lists(changes, min_size=5, max_size=30))
def test_a_state_that_grew_by_rules_stays_up_to_date(sequence: list[Change]) -> None:
    """The same from nothing on, where the rules let through only what they would."""
    db = states.database()
    follow(db, [add_domain(name, True, False) for name in states.OURS[:2]] + sequence)
    db.close()


@settings(deadline=None)
@given(states.states())
def test_what_whole_renders_is_what_edits_render(state: State) -> None:
    """All names at once, in file order, or as edits of empty texts: the same bytes."""
    db = states.database(state)
    lines = edits(db, RENDERER, list(graph.all_names(db)))
    texts = {file.name: Text(file.separator) for file in FILES}
    for name, text in texts.items():
        text.edit(lines[name])
    assert {name: text.data for name, text in texts.items()} == whole(db, RENDERER)
    db.close()


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_the_size_of_the_chunks_does_not_matter(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering one name at a time gives the same bytes as many."""
    boxes = [{"email": f"u{n}@a.example", "quota": 1, "tls_enforce_in": n == 3} for n in range(9)]
    state: State = {
        "domains": [{"domain": "a.example"}, {"domain": "b.example"}],
        "mailboxes": boxes,
        "aliases": [{"address": "@a.example", "goto": ["u3@a.example", "x@c.example"]}],
    }
    db = states.database(state)
    expected = whole(db, RENDERER)
    monkeypatch.setattr("mailapi.whole.CHUNK", size)
    assert whole(db, RENDERER) == expected
    assert expected["recipient_access"].count(b"DUNNO") == 8
    db.close()
