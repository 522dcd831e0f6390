"""The database: no room, locked, damaged, too new, another one; and two instances on it."""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import oracle
import pytest
import restapi
from bed import poll
from mishap import Fault
from process import Service

from mailapi import app, config, database
from mailapi.errors import StateError

Mount = Callable[[Path, str], None]
MANY = 12  # mailboxes; a map of so many must not shrink by accident


def names(service: Service) -> set[str]:
    return {row["email"] for row in service.state()["mailboxes"]}


def prepare(service: Service, mailboxes: int = 1, fault: Fault | None = None) -> None:
    service.start(fault=fault)
    service.must("POST", "/domains", restapi.domain())
    for number in range(mailboxes):
        service.must("POST", "/mailboxes", restapi.mailbox(f"m{number}@example.com"))


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for sql in statements:
            db.execute(sql)


def record(service: Service) -> tuple[int, int]:
    """The generation, and the one that is recorded as live."""
    with closing(sqlite3.connect(f"file:{service.database}?mode=ro", uri=True)) as db:
        generation, applied = db.execute("SELECT generation, applied FROM state").fetchone()
    return generation, applied


# ---------- no room, no lock ----------


def test_the_disk_of_the_database_is_full(service: Service, mount: Mount) -> None:
    """A change that has no room is refused with 507 and is nowhere; with room all goes on."""
    mount(service.root / "state", "4m")
    prepare(service)
    with (service.root / "state" / "filler").open("wb", buffering=0) as filler:
        for size in (1 << 16, 1):
            while os.statvfs(service.root / "state").f_bavail:
                filler.write(bytes(size))
    before = oracle.read(service.postfix, service.dovecot), record(service), names(service)
    for _ in range(3):
        status, answer = service.ask("POST", "/mailboxes", restapi.mailbox("bob@example.com"))
        assert (status, answer["code"]) == (507, "disk_full"), answer
    status, answer = service.ask("DELETE", "/mailboxes/m0@example.com")
    assert (status, answer["code"]) == (507, "disk_full"), answer
    poll(lambda: "not recorded" in service.said(), what="the writer tries to record what is live")
    assert service.ask("GET", "/mailboxes/bob@example.com")[0] == 404
    assert (
        oracle.read(service.postfix, service.dovecot),
        record(service),
        names(service),
    ) == before
    assert service.ready()
    (service.root / "state" / "filler").unlink()
    assert service.must("POST", "/mailboxes", restapi.mailbox("bob@example.com"))["applied"]
    service.agrees(2)
    poll(lambda: len(set(record(service))) == 1, what="what is live is recorded")
    assert service.stop() == 0


def test_the_database_is_locked_by_another_program(service: Service) -> None:
    """Who cannot get the lock in time is told to try again; afterwards all goes on."""
    pragmas = f"{database.WRITER} PRAGMA busy_timeout = 100;"
    prepare(service, fault=Fault(limits={"mailapi.database:Connection.pragmas": pragmas}))
    with closing(sqlite3.connect(service.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        status, answer = service.ask("POST", "/mailboxes", restapi.mailbox("bob@example.com"))
        assert (status, answer["code"]) == (503, "busy"), answer
        poll(lambda: "not recorded" in service.said(), what="the writer tries to record")
        other.execute("ROLLBACK")
    service.must("POST", "/mailboxes", restapi.mailbox("bob@example.com"))
    service.agrees(2)


# ---------- another database, a damaged one ----------


def test_an_empty_database_does_not_empty_the_maps(service: Service) -> None:
    """The service refuses to drop most of a map's entries, says why, and does so with --force."""
    prepare(service, MANY)
    before = oracle.read(service.postfix, service.dovecot)
    assert service.stop() == 0
    shutil.rmtree(service.root / "state")
    service.launch()
    assert service.ended() == 1
    assert f"would shrink from {MANY} to 0 entries" in service.said()
    assert "--force" in service.said()
    assert oracle.read(service.postfix, service.dovecot) == before
    service.start("--force")
    service.agrees(2)
    assert oracle.read(service.postfix, service.dovecot)["users"] == {}


def test_the_guard_holds_after_a_crash_too(service: Service) -> None:
    """What was live is recorded soon, so that rows lost after a crash are found missing."""
    prepare(service, MANY)
    poll(lambda: len(set(record(service))) == 1, what="what is live is recorded")
    service.kill()
    execute(service.database, "DELETE FROM mailbox")
    service.launch()
    assert service.ended() == 1
    assert "would shrink" in service.said()


def test_a_wanted_removal_needs_no_force_after_a_crash(service: Service) -> None:
    """Killed right after it was told to remove most mailboxes, the service removes them."""
    armed = service.root / "armed"
    prepare(service, MANY, Fault("mailapi.publish:Publisher.publish", armed))
    poll(lambda: len(set(record(service))) == 1, what="what is live is recorded")
    armed.touch()
    with pytest.raises((OSError, http.client.HTTPException)):
        service.ask("DELETE", "/domains/example.com?cascade=true")
    assert service.ended() == -9
    assert len(oracle.read(service.postfix, service.dovecot)["users"]) == MANY
    service.start()
    service.agrees(2)
    assert oracle.read(service.postfix, service.dovecot)["users"] == {}


def test_a_second_instance_exits_with_75(service: Service) -> None:
    """Two never work on the same state; the first is not disturbed."""
    prepare(service)
    second = Service(service.root)
    second.log = service.root / "second.log"
    second.launch()
    assert second.ended() == 75
    assert "Another instance" in second.said()
    service.must("POST", "/mailboxes", restapi.mailbox("bob@example.com"))
    service.agrees(2)


def test_a_database_of_a_newer_version_is_refused(service: Service) -> None:
    """An older program does not touch what it does not know."""
    prepare(service)
    assert service.stop() == 0
    execute(service.database, "PRAGMA user_version = 99")
    before = service.database.read_bytes()
    service.launch()
    assert service.ended() == 1
    assert "newer mailapi" in service.said()
    assert service.database.read_bytes() == before


@pytest.mark.parametrize("where", ["head", "table", "all"])
def test_a_damaged_database_is_refused(service: Service, where: str) -> None:
    """The service says so and leaves the files as they are, instead of serving what is left."""
    prepare(service, MANY)
    assert service.stop() == 0
    before = oracle.read(service.postfix, service.dovecot)
    with closing(sqlite3.connect(service.database)) as db:
        sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'mailbox'"
        (page,) = db.execute(sql).fetchone()
    begin = {"table": (page - 1) * 4096}.get(where, 0)
    count = {"head": 64, "table": 4096}.get(where, service.database.stat().st_size)
    with service.database.open("r+b") as stream:
        stream.seek(begin)
        stream.write(b"\xa5" * count)

    async def start() -> None:
        async with app.context(config.dev(service.root)):
            pass

    with pytest.raises(StateError, match="damaged"):
        asyncio.run(start())
    service.launch()
    assert service.ended() == 1
    assert "Traceback" not in service.said()
    assert oracle.read(service.postfix, service.dovecot) == before
