"""Plain states, as the oracle takes them, to and from rows; and random ones."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from oracle import State, domain_of, targets, untagged

from mailapi import schema

TIME = "2026-01-01T00:00:00Z"
HASH = "{BLF-CRYPT}$2b$04$" + "a" * 53
MEGABYTES = 10_240


def database(state: State | None = None) -> sqlite3.Connection:
    """A new database in memory, with the state in it."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.deserialize(_empty())
    db.execute("PRAGMA foreign_keys = ON")
    store(db, state or {"domains": [], "mailboxes": [], "aliases": []})
    return db


@functools.cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "state.db"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            schema.migrate(db, path)
            return db.serialize()


def store(db: sqlite3.Connection, state: State) -> None:
    """Insert the state's rows, in one transaction, without asking any rule."""
    db.execute("BEGIN")
    for row in state["domains"]:
        _insert(db, "domain", _domain_row(row))
    ids = dict(db.execute("SELECT domain, id FROM domain"))
    for row in state["mailboxes"]:
        _insert(db, "mailbox", _mailbox_row(row) | {"domain_id": ids[domain_of(row["email"])]})
    for row in state["aliases"]:
        alias = {"address": row["address"], "active": row.get("active", True), "description": ""}
        alias |= {"domain_id": ids[domain_of(row["address"])], "created": TIME, "modified": TIME}
        alias_id = _insert(db, "alias", alias)
        for position, target in enumerate(targets(row)):
            fields = (alias_id, position, target, untagged(target.lower()), domain_of(target))
            db.execute("INSERT INTO alias_target VALUES (?, ?, ?, ?, ?)", fields)
    db.execute("COMMIT")


def _insert(db: sqlite3.Connection, table: str, row: dict[str, Any]) -> int:
    marks = ", ".join("?" * len(row))
    sql = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
    return int(db.execute(sql, tuple(row.values())).lastrowid or 0)


def _domain_row(row: dict[str, Any]) -> dict[str, Any]:
    limits = {"aliases": 10**6, "mailboxes": 10**6, "quota": 10**12}
    quotas = {"defquota": 1, "maxquota": MEGABYTES}
    switches = {name: row.get(name, name == "active") for name in ("active", "backupmx")}
    times = {"created": TIME, "modified": TIME}
    return {"domain": row["domain"], "description": "", **limits, **quotas, **switches, **times}


def _mailbox_row(row: dict[str, Any]) -> dict[str, Any]:
    switches = ("active", "force_pw_update", "tls_enforce_in", "tls_enforce_out")
    return {
        "email": row["email"],
        "local_part": row["email"].rsplit("@", 1)[0],
        "name": "",
        "password_hash": row.get("password_hash", HASH),
        "quota": row["quota"],
        "generation": row.get("generation", 1),
        **{name: row.get(name, name == "active") for name in switches},
        "created": TIME,
        "modified": TIME,
    }


def plain(db: sqlite3.Connection) -> State:
    """The state in the database."""
    domains = _dicts(db, "SELECT domain, active, backupmx FROM domain")
    mailboxes = _dicts(
        db,
        "SELECT email, active, force_pw_update, tls_enforce_in, tls_enforce_out, quota, "
        "generation, password_hash FROM mailbox",
    )
    aliases = _dicts(db, "SELECT id, address, active FROM alias")
    for alias in aliases:
        sql = "SELECT address FROM alias_target WHERE alias_id = ? ORDER BY position"
        alias["goto"] = [target for (target,) in db.execute(sql, (alias.pop("id"),))]
    return {"domains": domains, "mailboxes": mailboxes, "aliases": aliases}


def _dicts(db: sqlite3.Connection, sql: str) -> list[dict[str, Any]]:
    cursor = db.execute(sql)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


# Few names, so that random states and changes meet: everything that can collide does.
OURS = ("a.example", "b.example", "sub.a.example")
FOREIGN = ("c.example", "d.example")
LOCALS = ("ann", "bob", "eve")
TAGGED = ("ann+x", "bob+x", "+x")

switches = st.booleans()
mostly = st.sampled_from([True, True, True, False])
rarely = st.sampled_from([False, False, False, True])
our_domains = st.sampled_from(OURS)
emails = st.builds("{}@{}".format, st.sampled_from(LOCALS), our_domains)
catch_alls = st.builds("@{}".format, our_domains)
alias_addresses = st.one_of(
    emails, catch_alls, st.builds("{}@{}".format, st.sampled_from(TAGGED), our_domains)
)
target_addresses = st.builds(
    "{}@{}".format,
    st.sampled_from((*LOCALS, *TAGGED, "ann+y", "Zoe", "nobody")),
    st.sampled_from((*OURS, *OURS, *FOREIGN)),
)
gotos = st.lists(target_addresses, min_size=1, max_size=3, unique=True)
mailbox_rows = st.fixed_dictionaries(
    {
        "email": emails,
        "active": mostly,
        "force_pw_update": rarely,
        "tls_enforce_in": rarely,
        "tls_enforce_out": rarely,
        "quota": st.sampled_from([0, 1, 3072]),
        "generation": st.integers(1, 9),
        "password_hash": st.just(HASH),
    }
)
alias_rows = st.fixed_dictionaries({"address": alias_addresses, "active": mostly, "goto": gotos})


@st.composite
def states(draw: st.DrawFn) -> State:
    """Any state that the tables can hold, loops and targets that nobody has included."""
    names = draw(st.lists(our_domains, min_size=1, max_size=3, unique=True))
    domains = [{"domain": name, "active": draw(mostly), "backupmx": draw(rarely)} for name in names]
    boxes = draw(st.lists(mailbox_rows, max_size=6, unique_by=lambda row: row["email"]))
    boxes = [row for row in boxes if domain_of(row["email"]) in names]
    taken = {row["email"] for row in boxes}
    rows = draw(st.lists(alias_rows, max_size=8, unique_by=lambda row: row["address"]))
    aliases = [
        row for row in rows if domain_of(row["address"]) in names and row["address"] not in taken
    ]
    return {"domains": domains, "mailboxes": boxes, "aliases": aliases}
