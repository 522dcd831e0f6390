"""One transaction of many changes: rules, rows, change log, generation, and the lines to publish.

`run` takes the jobs that wait, runs the rules of each in a savepoint of its own, renders all the
names that they touched, and commits. A rule that refuses rolls back its own job and fails no other.
Everything that can say no is before the COMMIT: if rendering or the database fails, all of it is
rolled back and raised. It runs in the database's thread.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from . import graph, whole
from .caller import Caller
from .errors import Busy, DiskFull, IdempotencyMismatch
from .render import Renderer
from .txn import Result, Rule, Txn

DAY: Final = 86_400  # seconds that an Idempotency-Key is kept
_LOCKED: Final = "Another program keeps the database locked; end it, or try again."


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The Idempotency-Key and a fingerprint of the request that it came with."""

    key: str
    fingerprint: bytes


@dataclass(slots=True)
class Job:
    """The rules of one request: all of them or none."""

    rules: Sequence[Rule]
    caller: Caller
    request_id: str
    idempotency: Idempotency | None = None


@dataclass(slots=True)
class Outcome:
    """What became of a job: results, or the error of the rule number `failed_at`."""

    results: list[Result] = field(default_factory=list)
    error: Exception | None = None
    failed_at: int = 0
    generation: int = 0  # the answer is true once this one is live
    changed: bool = False
    keys_changed: bool = False


@dataclass(slots=True)
class Batch:
    """`edits` by file: key -> line, None = no line. `first` > `last` if no generation is new."""

    outcomes: list[Outcome] = field(default_factory=list)
    first: int = 0
    last: int = 0
    edits: dict[str, dict[bytes, bytes | None]] = field(default_factory=dict)
    kicks: bool = False
    names: set[str] = field(default_factory=set, repr=False)
    deep: set[str] = field(default_factory=set, repr=False)


def run(
    db: sqlite3.Connection, jobs: Sequence[Job], renderer: Renderer, applied: int, kick: bool
) -> Batch:
    """Raise `DiskFull`, `Busy`, `Unrenderable`, `sqlite3.Error`; nothing is stored then.

    `applied` is the generation known to be live; `kick`: remember whose sessions have to end.
    """
    try:
        db.execute("BEGIN IMMEDIATE")
        batch = _changes(db, jobs, kick)
        touched = graph.closure(db, batch.names, batch.deep)
        batch.edits = whole.edits(db, renderer, sorted(touched)) if touched else {}
        if batch.first <= batch.last:
            db.execute("UPDATE state SET generation = ?, applied = ?", (batch.last, applied))
        db.execute("COMMIT")
    except BaseException as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says more of the same
        if code == sqlite3.SQLITE_FULL:
            raise DiskFull from error
        if code == sqlite3.SQLITE_BUSY:
            raise Busy(_LOCKED, retry_after=1) from error
        raise
    return batch


def _changes(db: sqlite3.Connection, jobs: Sequence[Job], kick: bool) -> Batch:
    (generation,) = db.execute("SELECT generation FROM state").fetchone()
    batch = Batch(first=generation + 1, last=generation)
    for job in jobs:
        txn = Txn(db, job.caller, job.request_id, batch.last + 1)
        outcome = _job(txn, job)
        batch.outcomes.append(outcome)
        if outcome.error is None and txn.changed:
            batch.last += 1
            batch.names |= txn.names
            batch.deep |= txn.deep
            if kick and txn.kicks:
                rows = [(address, batch.last) for address in txn.kicks]
                db.executemany("INSERT OR REPLACE INTO kick VALUES (?, ?)", rows)
                batch.kicks = True
            outcome.changed = True
        outcome.generation = batch.last
    return batch


def _job(txn: Txn, job: Job) -> Outcome:
    """Run a job in its savepoint. Raise only what concerns the whole transaction."""
    txn.db.execute("SAVEPOINT job")
    outcome = Outcome()
    try:
        outcome.results = _replay(txn, job) or _rules(txn, job, outcome)
    except sqlite3.Error:
        raise
    except Exception as error:
        outcome.error = error
        txn.db.execute("ROLLBACK TO job")
    txn.db.execute("RELEASE job")
    return outcome


def _rules(txn: Txn, job: Job, outcome: Outcome) -> list[Result]:
    results = []
    for outcome.failed_at, rule in enumerate(job.rules):
        results.append(rule(txn))
    for result in results:
        result.generation = txn.generation - (not txn.changed)
    outcome.keys_changed = txn.keys_changed
    if job.idempotency is not None:
        _remember(txn, job, job.idempotency, results)
    return results


def _replay(txn: Txn, job: Job) -> list[Result]:
    """The results of the same request, sent before. Raise `IdempotencyMismatch` for another."""
    if job.idempotency is None:
        return []
    row = txn.row(
        "SELECT fingerprint, answer FROM idempotency WHERE who = ? AND key = ? AND at > ?",
        job.caller.id,
        job.idempotency.key,
        int(time.time()) - DAY,
    )
    if row is None:
        return []
    if row[0] != job.idempotency.fingerprint:
        raise IdempotencyMismatch
    return [Result(*stored) for stored in json.loads(row[1])]


def _remember(txn: Txn, job: Job, idempotency: Idempotency, results: list[Result]) -> None:
    now = int(time.time())
    txn.db.execute("DELETE FROM idempotency WHERE at <= ?", (now - DAY,))
    answer = json.dumps([result.stored() for result in results])
    row = (job.caller.id, idempotency.key, idempotency.fingerprint, answer, now)
    txn.db.execute("INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?)", row)
