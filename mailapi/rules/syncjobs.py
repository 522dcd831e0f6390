"""Sync jobs: add, update, remove, start.

They are rendered nowhere and leave the generation as it is. `fields` hold `secret`, the encrypted
password, in place of `password1`. A change begins anew with whatever had failed before.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from typing import Any, Final

from .. import objects
from ..errors import Invalid, NotFound
from ..objects import SYNCJOB
from ..txn import Result, Txn, existing, same

PORTS: Final = {"SSL": 993, "TLS": 143, "PLAIN": 143}
_PLACE: Final = {"host1", "port1", "user1", "enc1"}  # where the password goes, and how


def add(txn: Txn, fields: Mapping[str, Any]) -> Result:
    """Raise `NotFound` if there is no such mailbox, and `Forbidden`."""
    username = fields["username"]
    txn.caller.writes(_domain(username))
    found = txn.row("SELECT id, domain_id FROM mailbox WHERE email = ?", username)
    if found is None:
        raise NotFound("There is no such mailbox; add it first.")
    row = _row(fields)
    row["port1"] = row.get("port1") or PORTS[row["enc1"]]
    row |= {"mailbox_id": found[0], "domain_id": found[1], "due": int(time.time())}
    id_ = txn.insert("sync_job", row | {"created": txn.now, "modified": txn.now})
    after = objects.shown(txn.db, SYNCJOB, id_)
    txn.log("add", SYNCJOB, str(id_), _domain(username), after=after)
    return Result("Sync job has been added", id_, 201, objects.one(txn.db, SYNCJOB, id_))


def update(
    txn: Txn,
    job_id: int,
    fields: Mapping[str, Any],
    fixed: dict[str, Any],
    if_match: str | None = None,
) -> Result:
    """Raise `NotFound`, `PreconditionFailed`, `Invalid`, `Forbidden`."""
    before = existing(txn, SYNCJOB, job_id, if_match)
    txn.caller.writes(_domain(before["username"]))
    same(before, fixed)
    changed = {k: v for k, v in fields.items() if k == "secret" or before[k] != v}
    if changed.keys() & _PLACE and "secret" not in changed:
        raise Invalid.field(
            "password1",
            "is required where host1, port1, user1 or enc1 changes, because the stored password "
            "is never sent anywhere else",
        )
    if changed:
        row = _row(changed) | {"modified": txn.now, "due": int(time.time())}
        txn.update("sync_job", job_id, row | {"failures": 0, "login_failures": 0})
        after = objects.shown(txn.db, SYNCJOB, job_id)
        domain = _domain(before["username"])
        txn.log("update", SYNCJOB, str(job_id), domain, before=before, after=after)
    data = objects.one(txn.db, SYNCJOB, job_id)
    return Result("Sync job has been updated", job_id, data=data)


def remove(txn: Txn, job_id: int, if_match: str | None = None) -> Result:
    """What it has copied stays. Raise `NotFound`, `PreconditionFailed`, `Forbidden`."""
    before = existing(txn, SYNCJOB, job_id, if_match)
    txn.caller.writes(_domain(before["username"]))
    _delete(txn, before)
    return Result("Sync job has been removed", job_id)


def start(txn: Txn, job_id: int) -> Result:
    """It is due now. Raise `NotFound`, `Forbidden`, and `Invalid` if it is switched off."""
    before = existing(txn, SYNCJOB, job_id, None)
    txn.caller.writes(_domain(before["username"]))
    if not before["active"]:
        raise Invalid.field("active", "must be true for a job to run; switch it on first")
    if before["is_running"]:
        msg = "Sync job is running already"
    else:
        msg = "Sync job has been started"
        row = {"due": int(time.time()), "failures": 0, "login_failures": 0}
        txn.update("sync_job", job_id, row)
        tick(txn)
    return Result(msg, job_id, data=objects.one(txn.db, SYNCJOB, job_id))


def drop(txn: Txn, email: str) -> int:
    """The mailbox goes: remove its jobs, each with its line in the change log; how many."""
    return _drop(txn, "username = ?", email)


def drop_domain(txn: Txn, domain_id: int) -> int:
    """The domain goes with all that it holds; how many jobs."""
    return _drop(txn, "domain_id = ?", domain_id)


def tick(txn: Txn) -> None:
    """The state of a job has changed, of which the change log tells nothing."""
    txn.db.execute("UPDATE sync_clock SET ticks = ticks + 1")


def reseal(db: sqlite3.Connection, renewed: Mapping[int, str]) -> None:
    """New encrypted passwords, by the jobs' numbers."""
    rows = [(secret, id_) for id_, secret in renewed.items()]
    db.executemany("UPDATE sync_job SET secret = ? WHERE id = ?", rows)


def _drop(txn: Txn, condition: str, value: str | int) -> int:
    sql = f"SELECT id FROM sync_job WHERE {condition}"  # noqa: S608 - constants
    found = txn.db.execute(sql, (value,)).fetchall()
    for (id_,) in found:
        _delete(txn, objects.shown(txn.db, SYNCJOB, id_))
    return len(found)


def _delete(txn: Txn, before: dict[str, Any]) -> None:
    txn.db.execute("DELETE FROM sync_job WHERE id = ?", (before["id"],))
    txn.log("remove", SYNCJOB, str(before["id"]), _domain(before["username"]), before=before)


def _row(fields: Mapping[str, Any]) -> dict[str, Any]:
    row = dict(fields)
    if "exclude" in row:
        row["exclude"] = json.dumps(row["exclude"], ensure_ascii=False)
    return row


def _domain(email: str) -> str:
    return email.rpartition("@")[2]
