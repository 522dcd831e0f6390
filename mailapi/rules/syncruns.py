"""What the runner does to the rows of sync jobs: it takes those that are due, reports, and ends.

    claim(txn, session, most, held)  -> the runs that begin, oldest due first, never two of one
                                        mailbox, and none of those that are held
    progress(txn, running)           messages, bytes, folder and share of runs
    end(txn, ended)                  results; when each job is due next
    interrupt(txn, holding)          runs that no runner has any more: all but those

A failure doubles the pause, up to a day. After `LOGINS` refused log-ins a job is not due again
before somebody changes or starts it. An interrupted run is no failure: its job is due again soon,
or ever later while its runs are interrupted before they have copied anything.

While a job runs, it is due only if it was changed meanwhile: the run has to stop, whatever becomes
of it is no failure of the job as it is now, and the next one begins at once.
"""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..txn import Result, Txn
from .syncjobs import tick

DAY: Final = 86_400
HOUR: Final = 3600
LOGINS: Final = 3
KEPT: Final = 100  # runs of a job
OK, LOGIN, INTERRUPTED, STOPPED = "ok", "login_failed", "interrupted", "stopped"
_JITTER: Final = 0.1  # of the interval
_DUE: Final = """
SELECT j.id, j.username, j.host1, j.port1, j.user1, j.secret, j.enc1, j.subfolder2, j.maxage,
       j.exclude, j.delete2
FROM sync_job j JOIN mailbox m ON m.id = j.mailbox_id JOIN domain d ON d.id = j.domain_id
WHERE j.active AND j.due <= ? AND j.running IS NULL AND m.active AND d.active AND NOT d.backupmx
  AND NOT EXISTS (SELECT 1 FROM sync_job o WHERE o.mailbox_id = j.mailbox_id
                  AND o.running IS NOT NULL)
  AND j.username NOT IN (SELECT value FROM json_each(?))
ORDER BY j.due, j.id LIMIT 1
"""
_NAMES: Final = (
    *("job", "username", "host1", "port1", "user1", "secret", "enc1", "subfolder2", "maxage"),
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: `result` is OK or the code of what went wrong."""

    run: int
    result: str
    messages: int
    bytes: int
    output: str


def waiting(db: sqlite3.Connection, held: Collection[str]) -> bool:
    """Whether a job could begin now; not of the mailboxes that are held."""
    return db.execute(_DUE, (int(time.time()), json.dumps(held))).fetchone() is not None


def mailboxes(db: sqlite3.Connection, runs: Collection[int]) -> dict[int, str]:
    """The mailboxes of those runs whose jobs are still there."""
    sql = (
        "SELECT r.id, j.username FROM sync_run r JOIN sync_job j ON j.id = r.job_id "
        "WHERE r.id IN (SELECT value FROM json_each(?))"
    )
    return dict(db.execute(sql, (json.dumps(runs),)))


def claim(txn: Txn, session: str, most: int, held: Collection[str]) -> Result:
    """The result's `data`: a JSON array of runs, each with its job's fields and `secret`."""
    found: list[dict[str, Any]] = []
    while len(found) < most and (row := txn.row(_DUE, int(time.time()), json.dumps(held))):
        fields = dict(zip((*_NAMES, "exclude", "delete2"), row, strict=True))
        fields |= {"exclude": json.loads(row[9]), "delete2": bool(row[10])}
        start = {"job_id": row[0], "session": session, "started": txn.now}
        run = txn.insert("sync_run", start)
        state = {"running": run, "due": None, "last_run": txn.now, "messages": 0, "bytes": 0}
        txn.update("sync_job", row[0], state | {"folder": None, "share": 0.0})
        _forget(txn, row[0])
        found.append({"run": run, **fields})
    if found:
        tick(txn)
    return Result("", "", data=json.dumps(found))


def progress(txn: Txn, running: Iterable[Mapping[str, Any]]) -> Result:
    """The result's `data`: those that have to stop: switched off, changed, removed, given up."""
    stop = []
    for one in running:
        row = txn.row(
            "SELECT j.id, j.active AND m.active AND d.active AND j.due IS NULL FROM sync_job j "
            "JOIN mailbox m ON m.id = j.mailbox_id JOIN domain d ON d.id = j.domain_id "
            "WHERE j.running = ?",
            one["run"],
        )
        if row is None or not row[1]:
            stop.append(one["run"])
        if row is not None:
            names = ("messages", "bytes", "folder", "share")
            txn.update("sync_job", row[0], {name: one[name] for name in names})
            tick(txn)
    return Result("", "", data=json.dumps(stop))


def end(txn: Txn, ended: Iterable[Ended]) -> Result:
    for one in ended:
        _end(txn, one)
    return Result("", "")


def interrupt(txn: Txn, holding: Collection[int]) -> Result:
    """End the runs that are not among them."""
    rows = txn.db.execute(
        "SELECT r.id, j.messages, j.bytes FROM sync_run r JOIN sync_job j ON j.running = r.id "
        "WHERE r.id NOT IN (SELECT value FROM json_each(?))",
        (json.dumps(list(holding)),),
    ).fetchall()
    output = "The runner ended in the middle of this run."
    return end(txn, [Ended(run, INTERRUPTED, some, size, output) for run, some, size in rows])


def _end(txn: Txn, ended: Ended) -> None:
    run = txn.row(
        "SELECT job_id FROM sync_run WHERE id = ? AND (ended IS NULL OR result = ?)",
        *(ended.run, INTERRUPTED),
    )
    if run is None:  # the job is gone, or the end was told before
        return
    counts = {"messages": ended.messages, "bytes": ended.bytes}
    history = {"ended": txn.now, "result": ended.result, "output": ended.output, **counts}
    txn.update("sync_run", ended.run, history)
    if txn.row("SELECT 1 FROM sync_job WHERE running = ?", ended.run):  # else it was given up
        state = {"running": None, "folder": None, "exit_status": ended.result, **counts}
        txn.update("sync_job", run[0], state | _next(txn, run[0], ended.result))
    tick(txn)


def _next(txn: Txn, job: int, result: str) -> dict[str, Any]:
    """What a run's result makes of its job: success, failures, and when it is due."""
    minutes, failures, logins, due = txn.row(
        "SELECT mins_interval, failures, login_failures, due FROM sync_job WHERE id = ?", job
    )
    ok = result == OK
    state: dict[str, Any] = {"success": int(ok), "share": 1.0 if ok else None}
    if due is not None:  # it was changed meanwhile
        return state
    if result in (INTERRUPTED, STOPPED):
        return state | {"due": int(time.time()) + _soon(txn, job)}
    failures = 0 if ok else failures + 1
    logins = logins + 1 if result == LOGIN else 0
    state |= {"failures": failures, "login_failures": logins}
    return state | {"due": _due(minutes, failures, logins)}


def _soon(txn: Txn, job: int) -> int:
    """Seconds; twice as many for each run in a row that was interrupted with nothing copied."""
    (vain,) = txn.row(
        "SELECT count(*) FROM sync_run WHERE job_id = ?1 AND id > (SELECT coalesce(max(id), 0) "
        "FROM sync_run WHERE job_id = ?1 AND (result <> ?2 OR messages > 0))",
        *(job, INTERRUPTED),
    )
    return int(min(HOUR, 2 ** min(max(0, vain - 1), 20)))


def _due(minutes: int, failures: int, logins: int) -> int | None:
    """When a job runs next: a little later than its interval, so that not all come at once."""
    if logins >= LOGINS:
        return None
    pause = minutes * 60
    if failures:
        pause = max(pause, min(DAY, pause * 2 ** min(failures - 1, 20)))
    return int(time.time() + pause * random.uniform(1, 1 + _JITTER))  # noqa: S311 - no secret


def _forget(txn: Txn, job: int) -> None:
    """Keep the last runs of a job only."""
    txn.db.execute(
        "DELETE FROM sync_run WHERE job_id = ?1 AND id NOT IN "
        "(SELECT id FROM sync_run WHERE job_id = ?1 ORDER BY id DESC LIMIT ?2)",
        (job, KEPT),
    )
