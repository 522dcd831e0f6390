"""Domains: add, update, remove."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import objects
from ..errors import Exists, Invalid, LimitExceeded, NotEmpty, NotFound
from ..objects import ALIAS, DOMAIN, MAILBOX
from ..txn import Result, Txn, existing, same
from . import syncjobs
from .targets import drop_domain

LIMITS = ("aliases", "mailboxes", "quota")


def add(txn: Txn, fields: Mapping[str, Any]) -> Result:
    """Raise `Exists`, `Invalid`."""
    txn.caller.writes()
    name = fields["domain"]
    if txn.row("SELECT 1 FROM domain WHERE domain = ?", name):
        raise Exists("This domain exists already; change it with PUT.")
    _check_quotas(fields)
    txn.insert("domain", {**fields, "created": txn.now, "modified": txn.now})
    txn.deep.add(name)
    after = objects.shown(txn.db, DOMAIN, name)
    txn.log("add", DOMAIN, name, name, after=after)
    data = objects.one(txn.db, DOMAIN, name)
    return Result("Domain has been added to system", name, 201, data)


def update(
    txn: Txn,
    name: str,
    fields: Mapping[str, Any],
    fixed: dict[str, Any],
    if_match: str | None = None,
) -> Result:
    """Raise `NotFound`, `PreconditionFailed`, `Invalid`, `LimitExceeded`."""
    txn.caller.writes()
    before = existing(txn, DOMAIN, name, if_match)
    same(before, fixed)
    changed = {key: value for key, value in fields.items() if before[key] != value}
    merged = {**before, **changed}
    _check_quotas(merged)
    _check_use(txn, name, before, merged)
    if changed:
        _store(txn, name, changed)
        after = objects.shown(txn.db, DOMAIN, name)
        txn.log("update", DOMAIN, name, name, before=before, after=after)
    return Result("Domain has been updated", name, 200, objects.one(txn.db, DOMAIN, name))


def remove(txn: Txn, name: str, cascade: bool, if_match: str | None = None) -> Result:
    """Raise `NotFound`, `PreconditionFailed`, `NotEmpty`."""
    txn.caller.writes()
    before = existing(txn, DOMAIN, name, if_match)
    detail = None
    mailboxes, aliases = before["mailboxes_used"], before["aliases_used"]
    if mailboxes or aliases:
        if not cascade:
            raise NotEmpty
        jobs = _remove_members(txn, name)
        detail = (
            f"Removed with it: {mailboxes} mailboxes, {aliases} aliases, {jobs} sync jobs. "
            "Mail stays on disk."
        )
    txn.db.execute("DELETE FROM domain WHERE domain = ?", (name,))
    txn.deep |= {name, f"@{name}"}
    txn.log("remove", DOMAIN, name, name, before=before)
    return Result("Domain has been removed", name, detail=detail)


def require(txn: Txn, name: str) -> tuple[int, dict[str, Any]]:
    """The domain's number and the domain as GET shows it. Raise `NotFound`."""
    row = txn.row("SELECT id FROM domain WHERE domain = ?", name)
    if row is None:
        raise NotFound("There is no such domain; add it first.")
    return row[0], objects.shown(txn.db, DOMAIN, name)


def touch_member(txn: Txn, domain: Mapping[str, Any], address: str) -> None:
    """An address came or went: a backup MX domain may now be listed, or no longer."""
    txn.deep.add(address)
    if domain["backupmx"]:
        txn.names.add(f"@{domain['domain']}")


def _check_quotas(fields: Mapping[str, Any]) -> None:
    if fields["defquota"] > fields["maxquota"]:
        raise Invalid.field("defquota", "must not be more than maxquota")
    if fields["maxquota"] > fields["quota"]:
        raise Invalid.field("maxquota", "must not be more than quota")


def _check_use(txn: Txn, name: str, before: dict[str, Any], merged: dict[str, Any]) -> None:
    """No limit may go below what is in use; the error says the smallest possible value."""
    for limit in LIMITS:
        if merged[limit] < before[f"{limit}_used"]:
            raise LimitExceeded.field(limit, f"must be at least {before[f'{limit}_used']}: in use")
    if merged["maxquota"] < before["maxquota"]:
        (largest,) = txn.row(
            "SELECT coalesce(max(m.quota), 0) FROM mailbox m JOIN domain d ON d.id = m.domain_id "
            "WHERE d.domain = ?",
            name,
        )
        if merged["maxquota"] < largest:
            raise LimitExceeded.field("maxquota", f"must be at least {largest}: in use")


def _store(txn: Txn, name: str, changed: dict[str, Any]) -> None:
    (id_,) = txn.row("SELECT id FROM domain WHERE domain = ?", name)
    txn.update("domain", id_, {**changed, "modified": txn.now})
    if {"active", "backupmx"} & set(changed):
        txn.deep.add(name)
        sql = "UPDATE mailbox SET generation = ? WHERE domain_id = ?"
        txn.db.execute(sql, (txn.generation, id_))
        _kick_members(txn, id_)


def _kick_members(txn: Txn, id_: int) -> None:
    rows = txn.db.execute("SELECT email FROM mailbox WHERE domain_id = ?", (id_,))
    txn.kicks |= {email for (email,) in rows}


def _remove_members(txn: Txn, name: str) -> int:
    """All that the domain holds, each with its line in the change log; how many sync jobs."""
    (id_,) = txn.row("SELECT id FROM domain WHERE domain = ?", name)
    _kick_members(txn, id_)
    jobs = syncjobs.drop_domain(txn, id_)
    drop_domain(txn, name)
    for kind, column in ((MAILBOX, "email"), (ALIAS, "address")):
        rows = txn.db.execute(f"SELECT {column} FROM {kind.table} WHERE domain_id = ?", (id_,))  # noqa: S608 - constants
        txn.deep |= {address for (address,) in rows}
        txn.db.execute(
            "INSERT INTO change (generation, at, who, request_id, action, object, name, domain, "  # noqa: S608 - constants
            f"before) SELECT ?, ?, ?, ?, 'remove', '{kind.table}', {column}, ?, {kind.json} "
            f"FROM {kind.table} WHERE domain_id = ?",
            (txn.generation, txn.now, txn.caller.name, txn.request_id, name, id_),
        )
        txn.db.execute(f"DELETE FROM {kind.table} WHERE domain_id = ?", (id_,))  # noqa: S608 - constants
    return jobs
