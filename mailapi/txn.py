"""One change inside the writer's transaction: what a rule works with, and what it leaves behind.

A rule is a plain function of a `Txn`. It raises `Refused` and has then changed nothing: its
savepoint is rolled back. Or it changes rows, says which names it touched, logs the change, and
returns a `Result`. It runs in the database's thread; it must not wait for anything.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from . import objects
from .caller import Caller
from .errors import Invalid, NotFound, PreconditionFailed
from .objects import KEY, SYNCJOB, Kind


@dataclass(slots=True)
class Result:
    """What the answer says: `data` is the object's JSON as GET shows it."""

    msg: str
    id: str | int
    status: int = 200
    data: str | None = None
    detail: str | None = None
    generation: int = 0
    secret: str | None = field(default=None, repr=False)  # a new API key, shown once

    def stored(self) -> list[Any]:
        """For the idempotency table, as JSON; the secret is not in it."""
        return [self.msg, self.id, self.status, self.data, self.detail, self.generation]


@dataclass(slots=True)
class Txn:
    """`names` and `deep` as in `graph.closure`; `kicks` are the mailboxes whose sessions end."""

    db: sqlite3.Connection
    caller: Caller
    request_id: str
    generation: int
    now: str = field(default_factory=lambda: timestamp())
    changed: bool = False  # something that has a generation: anything but keys and sync jobs
    keys_changed: bool = False
    names: set[str] = field(default_factory=set)
    deep: set[str] = field(default_factory=set)
    kicks: set[str] = field(default_factory=set)

    def row(self, sql: str, *values: Any) -> Any:
        """The first row, or None."""
        return self.db.execute(sql, values).fetchone()

    def insert(self, table: str, fields: dict[str, Any]) -> int:
        """Insert a row of columns that the code names; return its number."""
        names, marks = ", ".join(fields), ", ".join("?" * len(fields))
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - names are ours
        return int(self.db.execute(sql, tuple(fields.values())).lastrowid or 0)

    def update(self, table: str, id_: int, fields: dict[str, Any]) -> None:
        """Update a row's columns that the code names."""
        terms = ", ".join(f"{name} = ?" for name in fields)
        sql = f"UPDATE {table} SET {terms} WHERE id = ?"  # noqa: S608 - names are ours
        self.db.execute(sql, (*fields.values(), id_))

    def log(
        self,
        action: str,
        kind: Kind,
        name: str,
        domain: str | None,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> None:
        """Write the change log: `before` and `after` are objects as GET shows them."""
        self.keys_changed |= kind is KEY
        self.changed |= kind not in (KEY, SYNCJOB)
        self.insert(
            "change",
            {
                "generation": self.generation,
                "at": self.now,
                "who": self.caller.name,
                "request_id": self.request_id,
                "action": action,
                "object": kind.table,
                "name": name,
                "domain": domain,
                "before": json.dumps(before) if before else None,
                "after": json.dumps(after) if after else None,
            },
        )


Rule = Callable[[Txn], Result]


def timestamp() -> str:
    """Now, as ISO 8601 in UTC, in whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def etag(body: str) -> str:
    """The strong validator of an answer's body (RFC 9110, section 8.8.3)."""
    return f'"{hashlib.sha256(body.encode()).hexdigest()[:24]}"'


def existing(txn: Txn, kind: Kind, key: str | int, if_match: str | None) -> dict[str, Any]:
    """The object as GET shows it. Raise `NotFound`, or `PreconditionFailed` for another version."""
    text = objects.one(txn.db, kind, key)
    if text is None:
        raise NotFound
    if if_match is not None and if_match.strip() != "*":
        tags = {tag.strip() for tag in if_match.split(",")}
        if etag(text) not in tags:
            raise PreconditionFailed
    result: dict[str, Any] = json.loads(text)
    return result


def same(current: dict[str, Any], given: dict[str, Any]) -> None:
    """Fields that cannot be changed may be repeated as they are. Raise `Invalid` otherwise."""
    for name, value in given.items():
        if type(current[name]) is not type(value) or current[name] != value:
            raise Invalid.field(name, "cannot be changed; leave it out or repeat it as it is")
