"""Objects as GET shows them: JSON text made by SQLite itself, one SELECT a kind of object.

A list of a hundred thousand is read in pages of a stable key order, each a short query of its own:
no open cursor, nothing built whole. No SELECT here names a password or a hash.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: its table, the JSON of a row, its key, what `?q=` searches."""

    table: str
    json: str
    key: str  # the column that clients name the object by
    search: tuple[str, ...] = ()
    domain: str = ""  # the condition for `?domain=`, with one parameter
    newest_first: bool = False
    switch: bool = True  # it has `active`


def _flag(*columns: str) -> str:
    return ", ".join(f"'{c}', json(iif({c}, 'true', 'false'))" for c in columns)


def _plain(*columns: str) -> str:
    return ", ".join(f"'{c}', {c}" for c in columns)


_TIMES = _plain("created", "modified")
_DOMAIN_ID = "domain_id = (SELECT id FROM domain WHERE domain = ?)"

DOMAIN = Kind(
    "domain",
    f"json_object('domain', domain, {_flag('active')}, "
    + _plain("aliases", "mailboxes", "defquota", "maxquota", "quota")
    + f", {_flag('backupmx')}, "
    + _plain("description", "mailboxes_used", "aliases_used", "quota_used")
    + f", {_TIMES})",
    key="domain",
    search=("domain", "description"),
    domain="domain = ?",
)
MAILBOX = Kind(
    "mailbox",
    "json_object('email', email, 'local_part', local_part, "
    "'domain', substr(email, length(local_part) + 2), 'name', name, 'quota', quota, "
    + _flag("active", "force_pw_update", "tls_enforce_in", "tls_enforce_out")
    + f", 'quota_used', NULL, {_TIMES})",
    key="email",
    search=("email", "name"),
    domain=_DOMAIN_ID,
)
_GOTO = (
    "(SELECT group_concat(address, ',') FROM "
    "(SELECT address FROM alias_target WHERE alias_id = alias.id ORDER BY position))"
)
ALIAS = Kind(
    "alias",
    "json_object('id', id, 'address', address, 'domain', substr(address, instr(address, '@') + 1), "
    + f"'goto', {_GOTO}, {_flag('active')}, 'description', description, {_TIMES})",
    key="id",
    search=("address", "description"),
    domain=_DOMAIN_ID,
)
SYNCJOB = Kind(
    "sync_job",
    "json_object('id', id, "
    + _plain("username", "host1", "port1", "user1", "enc1", "mins_interval", "subfolder2", "maxage")
    + f", 'exclude', json(exclude), {_flag('delete2', 'active')}, "
    + "'is_running', json(iif(running IS NULL, 'false', 'true')), 'last_run', last_run, "
    + "'success', json(CASE success WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END), "
    + "'exit_status', exit_status, "
    + "'next_run', strftime('%Y-%m-%dT%H:%M:%SZ', iif(active, due, NULL), 'unixepoch'), "
    + _plain("messages", "bytes", "folder", "share")
    + f", {_TIMES})",
    key="id",
    search=("username", "host1", "user1"),
    domain=_DOMAIN_ID,
)
RUN = Kind(
    "sync_run",
    "json_object('id', id, 'job', job_id, "
    + _plain("started", "ended", "result", "messages", "bytes", "output")
    + ")",
    key="id",
    newest_first=True,
    switch=False,
)
KEY = Kind(
    "api_key",
    "json_object('id', id, 'name', name, 'scope', scope, 'domains', json(domains), "
    "'allow_from', json(allow_from), 'expires', expires, 'created', created)",
    key="id",
    search=("name",),
    switch=False,
)
CHANGE = Kind(
    "change",
    "json_object('id', id, 'generation', generation, 'at', at, 'who', who, "
    "'request_id', request_id, 'action', action, 'object', object, 'name', name, "
    "'domain', domain, 'before', json(before), 'after', json(after))",
    key="id",
    search=("name", "who"),
    domain="domain = ?",
    newest_first=True,
    switch=False,
)


def one(db: sqlite3.Connection, kind: Kind, key: str | int) -> str | None:
    """The object's JSON, or None."""
    sql = f"SELECT {kind.json} FROM {kind.table} WHERE {kind.key} = ?"  # noqa: S608 - constants
    row = db.execute(sql, (key,)).fetchone()
    return row[0] if row else None


def shown(db: sqlite3.Connection, kind: Kind, key: str | int) -> dict[str, Any]:
    """The object as a dict; it must exist."""
    result: dict[str, Any] = json.loads(one(db, kind, key) or "null")
    return result


@dataclass(frozen=True, slots=True)
class Query:
    """Which objects of a kind: filters, and the domains that the caller may see (None = all)."""

    domain: str | None = None
    active: bool | None = None
    q: str | None = None
    only: tuple[str, ...] | None = None
    job: int | None = None  # of runs

    def where(self, kind: Kind) -> tuple[str, list[Any]]:
        """The SQL condition and its parameters."""
        terms, values = ["true"], list[Any]()
        if self.domain is not None:
            terms.append(kind.domain)
            values.append(self.domain)
        if self.active is not None:
            terms.append("active = ?")
            values.append(int(self.active))
        if self.job is not None:
            terms.append("job_id = ?")
            values.append(self.job)
        if self.q is not None:
            found = (f"instr(lower({column}), lower(?))" for column in kind.search)
            terms.append("(" + " OR ".join(found) + ")")
            values += [self.q] * len(kind.search)
        if self.only is not None:
            inside = "domain IN (SELECT value FROM json_each(?))"
            if kind is not DOMAIN:
                inside = f"domain_id IN (SELECT id FROM domain WHERE {inside})"  # noqa: S608 - constants
            terms.append(inside)
            values.append(json.dumps(self.only))
        return " AND ".join(terms), values


def count(db: sqlite3.Connection, kind: Kind, query: Query) -> int:
    where, values = query.where(kind)
    sql = f"SELECT count(*) FROM {kind.table} WHERE {where}"  # noqa: S608 - constants
    (number,) = db.execute(sql, values).fetchone()
    return int(number)


def version(db: sqlite3.Connection) -> int:
    """It grows with every change of any object: a line of the change log, or a sync job's state."""
    (number,) = db.execute(
        "SELECT (SELECT coalesce(max(id), 0) FROM change) + (SELECT ticks FROM sync_clock)"
    ).fetchone()
    return int(number)


def page(
    db: sqlite3.Connection, kind: Kind, query: Query, after: str | int | None, limit: int
) -> list[tuple[str | int, str]]:
    """Up to `limit` objects behind `after`, as (key, JSON)."""
    where, values = query.where(kind)
    sign, order = ("<", "DESC") if kind.newest_first else (">", "ASC")
    if after is not None:
        where += f" AND {kind.key} {sign} ?"
        values.append(after)
    sql = (
        f"SELECT {kind.key}, {kind.json} FROM {kind.table} WHERE {where} "  # noqa: S608 - constants
        f"ORDER BY {kind.key} {order} LIMIT ?"
    )
    return db.execute(sql, (*values, limit)).fetchall()
