"""kill -9 at named points: what was acknowledged is there, the rest wholly or not at all.

One change is under way when the process dies: a batch that touches every file, adds and removes
domains, and reaches into other objects. The service is started again, without anybody's help, and
within two seconds the files are what the database says.
"""

from __future__ import annotations

import http.client
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import mishap
import oracle
import pytest
import restapi
from mishap import Fault
from process import Service, lmdb_entries

from mailapi import database, schema

MAPS = "mailapi.lmdbmap:LmdbMap"
ACKNOWLEDGED = [
    ("POST", "/domains", restapi.domain("old.example")),
    ("POST", "/domains", restapi.domain("example.com")),
    ("POST", "/mailboxes", restapi.mailbox("olga@old.example")),
    ("POST", "/mailboxes", restapi.mailbox("ann@example.com")),
    ("POST", "/mailboxes", restapi.mailbox("cat@example.com", tls_enforce_out=True)),
    ("POST", "/aliases", restapi.alias("info@example.com", "ann@example.com,cat@example.com")),
    ("POST", "/aliases", restapi.alias("only-cat@example.com", "cat@example.com")),
]
UNDER_WAY = [
    ("POST", "/domains", restapi.domain("new.example")),
    ("POST", "/domains", restapi.domain("relay.example", backupmx=True)),
    ("POST", "/mailboxes", restapi.mailbox("eve@new.example", tls_enforce_in=True)),
    ("POST", "/aliases", restapi.alias("@new.example", "eve@new.example,ann@example.com")),
    ("PUT", "/mailboxes/ann@example.com", {"tls_enforce_out": True}),
    ("DELETE", "/mailboxes/cat@example.com", None),
    ("DELETE", "/domains/old.example?cascade=true", None),
]
BEFORE = {
    "domains": ["example.com", "old.example"],
    "mailboxes": ["ann@example.com 0", "cat@example.com 1", "olga@old.example 0"],
    "aliases": [
        "info@example.com ann@example.com,cat@example.com",
        "only-cat@example.com cat@example.com",
    ],
}
AFTER = {
    "domains": ["example.com", "new.example", "relay.example"],
    "mailboxes": ["ann@example.com 1", "eve@new.example 0"],
    "aliases": [
        "@new.example eve@new.example,ann@example.com",
        "info@example.com ann@example.com",
    ],
}
NOWHERE = Path("/nonexistent")
PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}

NOT_STORED = {
    "before BEGIN": Fault("mailapi.batch:run", NOWHERE),
    "after BEGIN": Fault("sql:SAVEPOINT", NOWHERE),
    "amid the rules": Fault("sql:INSERT INTO alias ", NOWHERE),
    "after the rules": Fault("mailapi.whole:edits", NOWHERE),
    "after rendering": Fault("mailapi.whole:edits", NOWHERE, "after"),
    "before COMMIT": Fault("sql:COMMIT", NOWHERE),
}
STORED = {
    "after COMMIT": Fault("mailapi.batch:run", NOWHERE, "after"),
    "before the first file": Fault("mailapi.publish:Publisher.publish", NOWHERE),
    "passwd-file written, not renamed": Fault("mailapi.files:stage", NOWHERE, "after"),
    "renamed, directory not synced": Fault("mailapi.files:replace", NOWHERE, "after"),
    "before an LMDB transaction": Fault(f"{MAPS}._commit", NOWHERE),
    "inside an LMDB transaction": Fault(f"{MAPS}._commit", NOWHERE, "inside"),
    "map written, its text not": Fault(f"{MAPS}._commit", NOWHERE, "after"),
    "between two maps": Fault(f"{MAPS}.update", NOWHERE, "after", nth=3),
    "before the domain maps": Fault(f"{MAPS}.update", NOWHERE, only="relay_domains"),
    "between the domain maps": Fault(f"{MAPS}.update", NOWHERE, only="virtual_mailbox_domains"),
    "after the domain maps": Fault(
        "mailapi.files:write", NOWHERE, "after", only="virtual_mailbox_domains"
    ),
    "before smtpd_renew": Fault(f"{MAPS}.renew", NOWHERE),
    "amid smtpd_renew": Fault(f"{MAPS}._stage", NOWHERE, "after"),
    "after smtpd_renew": Fault(f"{MAPS}.renew", NOWHERE, "after"),
    "before it is live": Fault("mailapi.rounds:Rounds.published", NOWHERE),
}
AT_START = {
    "before the state is rendered": Fault("mailapi.whole:whole", NOWHERE),
    "after the state is rendered": Fault("mailapi.whole:whole", NOWHERE, "after"),
    "before anything is written": Fault("mailapi.publish:Publisher.load", NOWHERE),
    "amid the maps": Fault(f"{MAPS}.sync", NOWHERE, "after", nth=3),
    "text written, not renamed": Fault("mailapi.files:stage", NOWHERE, "after", nth=2),
    "before smtpd_renew": Fault(f"{MAPS}.renew", NOWHERE),
    "all written": Fault("mailapi.publish:Publisher.load", NOWHERE, "after"),
}


def armed(fault: Fault, service: Service) -> Fault:
    return replace(fault, armed=service.root / "armed")


def contents(service: Service) -> dict[str, list[str]]:
    """What is stored, in short."""
    found = service.state()
    return {
        "domains": sorted(row["domain"] for row in found["domains"]),
        "mailboxes": sorted(f"{m['email']} {m['tls_enforce_out']}" for m in found["mailboxes"]),
        "aliases": sorted(f"{row['address']} {row['goto']}" for row in found["aliases"]),
    }


def asked(service: Service) -> dict[str, set[str]]:
    """The names that the API shows."""
    names = {"domains": "domain", "mailboxes": "email", "aliases": "address"}
    return {
        kind: {row[name] for row in service.must("GET", f"/{kind}")} for kind, name in names.items()
    }


def prepare(service: Service, fault: Fault) -> None:
    """Acknowledged objects, and a service that is about to die."""
    service.start(fault=armed(fault, service))
    for method, path, body in ACKNOWLEDGED:
        service.must(method, path, body)
    assert contents(service) == BEFORE
    (service.root / "armed").touch()


def change(service: Service) -> None:
    """Send what is under way when the process dies."""
    names = ("method", "path", "body")
    batch = [dict(zip(names, item, strict=True)) for item in UNDER_WAY]
    for item in batch:
        if item["body"] is None:
            del item["body"]
    with pytest.raises((OSError, http.client.HTTPException)):
        service.ask("POST", "/batch", batch)
    assert service.ended() == -9
    accepted = lmdb_entries(service.postfix / "virtual_mailbox_domains") or {}
    known = lmdb_entries(service.postfix / "virtual_mailbox_maps") or {}
    if "new.example" in accepted:  # then nobody is told that its users are unknown
        assert "eve@new.example" in known
        assert "eve@new.example" in oracle.parse_users((service.dovecot / "users").read_bytes())


def recovers(service: Service, expected: dict[str, list[str]]) -> None:
    """A plain start has it all right within two seconds."""
    service.start()
    service.agrees(2)
    assert contents(service) == expected
    assert asked(service) == {
        kind: {entry.split()[0] for entry in entries} for kind, entries in expected.items()
    }
    service.must("POST", "/mailboxes", restapi.mailbox("next@example.com"))
    service.agrees(2)


@pytest.mark.parametrize("point", NOT_STORED)
def test_a_change_killed_before_its_commit_never_was(service: Service, point: str) -> None:
    """What was not acknowledged is not there at all, and what was is."""
    prepare(service, NOT_STORED[point])
    change(service)
    recovers(service, BEFORE)


@pytest.mark.parametrize("point", STORED)
def test_a_change_killed_after_its_commit_is_made_live(service: Service, point: str) -> None:
    """What was committed is there wholly, in the database and in every file."""
    prepare(service, STORED[point])
    change(service)
    recovers(service, AFTER)


@pytest.mark.parametrize("point", AT_START)
def test_a_start_that_is_killed_can_be_repeated(service: Service, point: str) -> None:
    """A service that dies while it makes the files right again loses nothing either."""
    prepare(service, STORED["after COMMIT"])
    change(service)
    service.launch(fault=armed(AT_START[point], service))
    assert service.ended() == -9
    recovers(service, AFTER)


def test_killed_before_the_applied_generation_is_recorded(service: Service) -> None:
    """The record of what is live comes a moment after the answer; without it nothing is missing."""
    prepare(service, Fault("mailapi.apply:Writer._record", NOWHERE))
    service.must("POST", "/mailboxes", restapi.mailbox("dan@example.com"))
    assert service.ended() == -9
    with_dan = BEFORE | {"mailboxes": sorted([*BEFORE["mailboxes"], "dan@example.com 0"])}
    recovers(service, with_dan)


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "CREATE TABLE mailbox", "COMMIT"])
def test_the_first_migration_killed(service: Service, statement: str) -> None:
    """A database that was about to be made is made by the next start."""
    service.root.mkdir()
    (service.root / "armed").touch()
    service.launch(fault=armed(Fault(f"sql:{statement}", NOWHERE), service))
    assert service.ended() == -9
    service.start()
    service.agrees(2)
    service.must("POST", "/domains", restapi.domain())


@pytest.mark.parametrize("statement", ["VACUUM INTO", "CREATE TABLE more", "UPDATE more", "COMMIT"])
def test_a_later_migration_killed(service: Service, tmp_path: Path, statement: str) -> None:
    """An upgrade that was killed is done by the next start, once, and leaves a good copy."""
    prepare(service, mishap.Fault("mailapi.batch:run", NOWHERE))
    service.kill()
    steps = tmp_path / "steps"
    steps.mkdir()
    for step in schema.MIGRATIONS.glob("*.sql"):
        (steps / step.name).write_text(step.read_text())
    (steps / "0099_more.sql").write_text(
        "CREATE TABLE more (n INTEGER) STRICT; INSERT INTO more VALUES (1);"
        "UPDATE more SET n = n + 1;"
    )
    count = len(list(steps.iterdir()))
    fault = replace(armed(Fault(f"sql:{statement}", NOWHERE), service), migrations=steps)
    service.launch(fault=fault)
    assert service.ended() == -9
    (service.root / "armed").unlink()
    service.start(fault=fault)
    service.agrees(2)
    assert contents(service) == BEFORE
    assert _select(service.database, "SELECT n FROM more") == [(2,)]
    copy = service.database.with_name(f"mailapi.db.v{count - 1}")
    assert _select(copy, "PRAGMA user_version") == [(count - 1,)]
    assert len(_select(copy, "SELECT * FROM mailbox")) == len(BEFORE["mailboxes"])


def _select(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


async def test_what_was_committed_survives_a_loss_of_power(tmp_path: Path) -> None:
    """The connection that writes has a write-ahead log and syncs it at each commit (FULL)."""
    connection = database.Connection(tmp_path / "db")
    await connection.open()
    try:
        found = await connection.run(
            lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS]
        )
    finally:
        await connection.close()
    assert found == list(PRAGMAS.values())
