"""Mailboxes: add, update, remove; and the owner's own password."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from .. import objects
from ..errors import Exists, Forbidden, Invalid, LimitExceeded
from ..objects import MAILBOX
from ..txn import Result, Txn, existing, same
from . import domains, syncjobs, targets

SEEN_BY_OTHERS = {"active", "tls_enforce_in", "tls_enforce_out"}  # aliases that lead here
IN_USERS = {"active", "force_pw_update", "password_hash", "quota"}  # the line in Dovecot's file
ENDS_SESSIONS = {"active", "force_pw_update", "password_hash"}


def add(txn: Txn, fields: Mapping[str, Any]) -> Result:
    """`fields` hold `password_hash`. Raise `NotFound`, `Exists`, `LimitExceeded`, `Forbidden`."""
    txn.caller.writes(fields["domain"])
    domain_id, domain = domains.require(txn, fields["domain"])
    email = f"{fields['local_part']}@{fields['domain']}"
    if len(email) > 254:
        raise Invalid.field("local_part", "is too long: an address has at most 254 octets")
    free(txn, email)
    if domain["mailboxes_used"] >= domain["mailboxes"]:
        raise LimitExceeded(
            f"The domain may have {domain['mailboxes']} mailboxes; raise its limit."
        )
    _check_quota(txn, domain, fields["quota"], 0)
    row = {name: value for name, value in fields.items() if name != "domain"}
    row |= {"domain_id": domain_id, "email": email, "generation": txn.generation}
    txn.insert("mailbox", row | {"created": txn.now, "modified": txn.now})
    domains.touch_member(txn, domain, email)
    data = objects.one(txn.db, MAILBOX, email)
    after = objects.shown(txn.db, MAILBOX, email)
    txn.log("add", MAILBOX, email, fields["domain"], after=after)
    return Result("Mailbox has been added", email, 201, data)


def update(
    txn: Txn,
    email: str,
    fields: Mapping[str, Any],
    fixed: dict[str, Any],
    if_match: str | None = None,
) -> Result:
    """Raise `NotFound`, `PreconditionFailed`, `Invalid`, `LimitExceeded`, `Forbidden`."""
    domain_name = email.rpartition("@")[2]
    txn.caller.writes(domain_name)
    before = existing(txn, MAILBOX, email, if_match)
    same(before, fixed)
    changed = {k: v for k, v in fields.items() if k == "password_hash" or before[k] != v}
    if "quota" in changed:
        domain = domains.require(txn, domain_name)[1]
        _check_quota(txn, domain, changed["quota"], before["quota"])
    if changed:
        _store(txn, email, changed)
        after = objects.shown(txn.db, MAILBOX, email)
        txn.log("update", MAILBOX, email, domain_name, before=before, after=after)
    return Result("Mailbox has been updated", email, data=objects.one(txn.db, MAILBOX, email))


def remove(txn: Txn, email: str, if_match: str | None = None) -> Result:
    """Raise `NotFound`, `PreconditionFailed`."""
    domain_name = email.rpartition("@")[2]
    txn.caller.writes(domain_name)
    before = existing(txn, MAILBOX, email, if_match)
    domain = domains.require(txn, domain_name)[1]
    syncjobs.drop(txn, email)
    txn.db.execute("DELETE FROM mailbox WHERE email = ?", (email,))
    txn.kicks.add(email)
    domains.touch_member(txn, domain, email)
    txn.log("remove", MAILBOX, email, domain_name, before=before)
    targets.drop(txn, email)
    return Result("Mailbox has been removed", email)


def owned(db: sqlite3.Connection, email: str) -> str | None:
    """The hash that proves an owner: of a mailbox that is switched on, in a domain that is, too.

    None for all others. With `force_pw_update` it is the hash that no log-in takes any more.
    """
    row = db.execute(
        "SELECT password_hash FROM mailbox JOIN domain ON domain.id = domain_id "
        "WHERE email = ? AND mailbox.active AND domain.active AND NOT backupmx",
        (email,),
    ).fetchone()
    return row[0] if row else None


def renew(txn: Txn, email: str, proved: str, password_hash: str) -> Result:
    """The owner's new password; `proved` is the hash that the current one had.

    Raise `Forbidden` if another password was set, or the mailbox switched off, meanwhile.
    """
    if owned(txn.db, email) != proved:
        raise Forbidden("The mailbox has changed meanwhile; try again.")
    return update(txn, email, {"password_hash": password_hash, "force_pw_update": False}, {})


def free(txn: Txn, address: str) -> None:
    """The address is no mailbox's and no alias's. Raise `Exists`."""
    if txn.row("SELECT 1 FROM mailbox WHERE email = ?", address):
        raise Exists("A mailbox has this address already; change it with PUT.")
    if txn.row("SELECT 1 FROM alias WHERE address = ?", address):
        raise Exists("An alias has this address already; remove it first or change it with PUT.")


def _check_quota(txn: Txn, domain: Mapping[str, Any], quota: int, old: int) -> None:
    if quota == 0 and not txn.caller.unrestricted:
        raise Forbidden("A key limited to domains may not give an unlimited quota.")
    if quota > domain["maxquota"]:
        raise LimitExceeded.field("quota", f"must be at most {domain['maxquota']}, the maxquota")
    left = domain["quota"] - domain["quota_used"] + old
    if quota > left:
        raise LimitExceeded.field("quota", f"must be at most {left}, what the domain has left")


def _store(txn: Txn, email: str, changed: dict[str, Any]) -> None:
    (id_,) = txn.row("SELECT id FROM mailbox WHERE email = ?", email)
    row = {**changed, "modified": txn.now}
    if IN_USERS & changed.keys():
        row["generation"] = txn.generation
    txn.update("mailbox", id_, row)
    (txn.deep if SEEN_BY_OTHERS & changed.keys() else txn.names).add(email)
    if ENDS_SESSIONS & changed.keys():
        txn.kicks.add(email)
