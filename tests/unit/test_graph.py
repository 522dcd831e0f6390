"""Rows -> snapshots, and whom a change touches."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
import states
from oracle import State

from mailapi import graph
from mailapi.snapshot import Alias, Domain, Mailbox
from mailapi.text import sort_key

STATE: State = {
    "domains": [
        {"domain": "a.example"},
        {"domain": "b.example", "active": False},
        {"domain": "mx.example", "backupmx": True},
        {"domain": "open.example", "backupmx": True},
        {"domain": "c.example"},
    ],
    "mailboxes": [
        {"email": "ann@a.example", "quota": 5, "generation": 3, "tls_enforce_in": True},
        {"email": "ben@a.example", "quota": 5, "active": False, "force_pw_update": True},
        {"email": "ann@c.example", "quota": 0, "tls_enforce_out": True},
        {"email": "ann@mx.example", "quota": 5},
    ],
    "aliases": [
        {"address": "info@a.example", "goto": "ann@a.example,Zoe@x.example"},
        {"address": "team@a.example", "goto": "info+team@a.example"},
        {"address": "ann+x@a.example", "goto": "ann@c.example"},
        {"address": "far@c.example", "goto": "team@a.example", "active": False},
        {"address": "@c.example", "goto": "ann@mx.example"},
        {"address": "lost@c.example", "goto": "nobody@a.example"},
    ],
}


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = states.database(STATE)
    yield connection
    connection.close()


def test_names_come_in_file_order(db: sqlite3.Connection) -> None:
    """Every domain, address and catch-all, and `@domain` of each; sorted as the files are."""
    names = list(graph.all_names(db))
    assert len(names) == len(set(names)) == 5 * 2 + 4 + 6 - 1  # the catch-all is there anyway
    assert names == sorted(names, key=lambda name: sort_key(name.encode()))


def test_load_brings_what_a_name_leads_to(db: sqlite3.Connection) -> None:
    """Targets through chains, their domains, what is without their tag; and nothing else."""
    state = graph.load(db, ["far@c.example"])
    assert set(state.domains) == {"a.example", "c.example", "mx.example"}
    assert set(state.aliases) == {
        "far@c.example",
        "team@a.example",
        "info@a.example",
        "@c.example",
    }
    assert set(state.mailboxes) == {"ann@a.example", "ann@mx.example"}


def test_rows_come_as_they_are(db: sqlite3.Connection) -> None:
    """Each column is where it belongs, switches are booleans, targets keep order and case."""
    names = ["b.example", "mx.example", "open.example", "ben@a.example", "info@a.example"]
    state = graph.load(db, [*names, "ann@a.example", "ann@c.example"])
    assert state.domains["b.example"] == Domain("b.example", False, False, False)
    assert state.domains["mx.example"] == Domain("mx.example", True, True, True)
    assert state.domains["open.example"] == Domain("open.example", True, True, False)
    ann = Mailbox("ann@a.example", "a.example", True, False, True, False, 5, 3, states.HASH)
    assert state.mailboxes["ann@a.example"] == ann
    ben = Mailbox("ben@a.example", "a.example", False, True, False, False, 5, 1, states.HASH)
    assert state.mailboxes["ben@a.example"] == ben
    far = Mailbox("ann@c.example", "c.example", True, False, False, True, 0, 1, states.HASH)
    assert state.mailboxes["ann@c.example"] == far
    targets = ("ann@a.example", "Zoe@x.example")
    assert state.aliases["info@a.example"] == Alias("info@a.example", "a.example", True, targets)


def test_a_target_is_looked_for_in_lower_case() -> None:
    """A domain that was foreign when the target was given may be ours by now."""
    goto = {"address": "info@a.example", "goto": "Zoe+X@c.example"}
    zoe = {"email": "zoe@c.example", "quota": 1}
    domains = [{"domain": "a.example"}, {"domain": "c.example"}]
    db = states.database({"domains": domains, "mailboxes": [zoe], "aliases": [goto]})
    assert set(graph.load(db, ["info@a.example"]).mailboxes) == {"zoe@c.example"}
    assert graph.closure(db, [], ["zoe@c.example"]) == {"zoe@c.example", "info@a.example"}
    db.close()


def test_an_unknown_name_loads_nothing(db: sqlite3.Connection) -> None:
    """A name that is not there, in a domain that is not ours, brings no row."""
    state = graph.load(db, ["nobody@x.example", "x.example", "@x.example"])
    assert (state.domains, state.mailboxes, state.aliases) == ({}, {}, {})


@pytest.mark.parametrize(
    ("names", "deep", "expected"),
    [
        ([], [], set()),
        (["ann@a.example"], [], {"ann@a.example"}),
        (
            [],
            ["ann@a.example"],
            {"ann@a.example", "info@a.example", "team@a.example", "far@c.example"}
            | {"ann+x@a.example"},
        ),
        ([], ["ben@a.example"], {"ben@a.example"}),
        ([], ["nobody@a.example"], {"nobody@a.example", "lost@c.example"}),
        (
            [],
            ["far@c.example"],
            {"far@c.example"},
        ),
        (
            [],
            ["@c.example"],
            {"@c.example", "c.example", "ann@c.example", "far@c.example", "lost@c.example"}
            # and what an alias into the domain leads to, each with or without its tag
            | {"ann+x@a.example", "info@a.example", "team@a.example"},
        ),
        ([], ["open.example"], {"open.example", "@open.example"}),
        (
            [],
            ["@open.example"],
            {"open.example", "@open.example"},
        ),
    ],
)
def test_closure_names_whom_a_change_touches(
    db: sqlite3.Connection, names: list[str], deep: list[str], expected: set[str]
) -> None:
    """Those that lead there, those with a tag, a catch-all's members; hardly anyone else."""
    assert graph.closure(db, names, deep) == expected


def test_closure_of_a_domain_is_its_members_and_all_that_lead_there(
    db: sqlite3.Connection,
) -> None:
    """Aliases of other domains, and what leads to them in turn."""
    found = graph.closure(db, [], ["mx.example"])
    assert {"mx.example", "@mx.example", "ann@mx.example", "@c.example", "ann@c.example"} <= found
    assert "ann@a.example" not in found


def test_closure_of_a_catch_all_that_is_gone_touches_its_members(db: sqlite3.Connection) -> None:
    """Their entries to themselves have to go too."""
    db.execute("DELETE FROM alias WHERE address = '@c.example'")
    found = graph.closure(db, [], ["@c.example"])
    assert found >= {"@c.example", "c.example", "ann@c.example", "far@c.example"}


def test_a_password_touches_nobody_else_in_a_domain_with_a_catch_all(
    db: sqlite3.Connection,
) -> None:
    """What changed in a mailbox's own rows only is rendered alone, and quickly."""
    assert graph.closure(db, ["ann@c.example"], []) == {"ann@c.example"}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ann@a.example", {"info@a.example", "team@a.example", "far@c.example"}),
        ("ann+x@a.example", {"info@a.example", "team@a.example", "far@c.example"}),
        ("ben@a.example", set()),
        ("far@c.example", set()),
        ("@a.example", {"info@a.example", "team@a.example", "far@c.example", "lost@c.example"}),
    ],
)
def test_upstream_is_what_leads_to_an_address(
    db: sqlite3.Connection, address: str, expected: set[str]
) -> None:
    """Itself and the aliases on all the ways to it, those with a tag included."""
    assert graph.upstream(db, address) == {address, *expected}


def test_a_tag_is_looked_for_in_its_own_domain_only() -> None:
    """`ann+x` of another domain, and `anna+x`, have nothing to do with `ann`."""
    aliases: list[dict[str, Any]] = [
        {"address": address, "goto": "x@x.example"}
        for address in ("ann+x@a.example", "ann+x@c.example", "anna+x@a.example", "ann@c.example")
    ]
    domains = [{"domain": "a.example"}, {"domain": "c.example"}]
    db = states.database({"domains": domains, "mailboxes": [], "aliases": aliases})
    assert graph.closure(db, [], ["ann@a.example"]) == {"ann@a.example", "ann+x@a.example"}
    db.close()
