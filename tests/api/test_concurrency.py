"""Many clients at once: limits hold, nothing is lost, and without the one writer they would not."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from restapi import Api, alias, domain, mailbox

from mailapi import local, models
from mailapi.errors import LimitExceeded
from mailapi.rules import domains, mailboxes
from mailapi.txn import Txn

CREATORS, LIMIT = 50, 10


async def test_fifty_creators_and_a_limit_of_ten(api: Api) -> None:
    """Exactly ten succeed; the others are told of the limit; rows and files agree."""
    await api.made("/domains", domain(mailboxes=LIMIT))
    answers = await asyncio.gather(
        *(api.post("/mailboxes", mailbox(f"m{n}@example.com")) for n in range(CREATORS))
    )
    assert Counter(answer.status for answer in answers) == {201: LIMIT, 400: CREATORS - LIMIT}
    assert {answer.json["code"] for answer in answers if answer.status == 400} == {"limit_exceeded"}
    made = {answer.json["id"] for answer in answers if answer.status == 201}
    assert {item["email"] for item in (await api.get("/mailboxes")).json} == made
    assert {line.split(":")[0] for line in api.file("users").splitlines()} == made
    assert (await api.get("/domains/example.com")).json["mailboxes_used"] == LIMIT


def test_without_the_writer_the_limit_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rule on fifty connections of their own, each reading first, makes fifty.

    This is what the one writer prevents. The CHECK of the table, a second net, is switched off.
    """
    database = tmp_path / "mailapi.db"
    wished = local.Config(state={"directory": tmp_path})
    local.add_key(wished, {"name": "x", "scope": "admin"})
    together, original = threading.Barrier(CREATORS), domains.require

    def require(txn: Txn, name: str) -> Any:
        found = original(txn, name)
        if txn.request_id == "race":
            together.wait(30)  # all have read before one writes
        return found

    monkeypatch.setattr(mailboxes.domains, "require", require)

    def change(rule: Any, body: Any, model: Any, request_id: str = "race") -> bool:
        db = sqlite3.connect(database, isolation_level=None, timeout=30)
        with contextlib.closing(db):
            db.execute("PRAGMA ignore_check_constraints = ON")
            db.execute("PRAGMA synchronous = OFF")  # only to be quick
            fields = {k: v for k, v in models.parse(model, body).items() if v is not None}
            try:
                rule(Txn(db, local.LOCAL, request_id, 1), fields)
            except LimitExceeded:
                return False
            return True

    change(domains.add, domain(mailboxes=LIMIT), models.DomainAdd, "first")
    results: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda n=n: results.append(
                change(mailboxes.add, mailbox(f"m{n}@example.com"), models.MailboxAdd)
            )
        )
        for n in range(CREATORS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results.count(True) == CREATORS


async def test_the_sum_of_quotas(api: Api) -> None:
    """Twenty who each want half of the domain's quota: two get it."""
    await api.made("/domains", domain(defquota=1, maxquota=50, quota=100))
    answers = await asyncio.gather(
        *(api.post("/mailboxes", mailbox(f"m{n}@example.com", quota=50)) for n in range(20))
    )
    assert Counter(answer.status for answer in answers) == {201: 2, 400: 18}
    assert (await api.get("/domains/example.com")).json["quota_used"] == 100


async def test_one_address_for_twenty(api: Api) -> None:
    """One gets it, as mailbox or as alias; the others hear 409."""
    await api.made("/domains", domain())
    answers = await asyncio.gather(
        *(api.post("/mailboxes", mailbox("one@example.com")) for _ in range(10)),
        *(api.post("/aliases", alias("one@example.com", "o@b.example")) for _ in range(10)),
    )
    assert Counter(answer.status for answer in answers) == {201: 1, 409: 19}


async def test_if_match_lets_one_through(filled: Api) -> None:
    """Of twenty who read the same version one may change it."""
    tag = (await filled.get("/aliases/1")).headers["ETag"]
    answers = await asyncio.gather(
        *(filled.put("/aliases/1", {"description": f"{n}"}, If_Match=tag) for n in range(20))
    )
    assert Counter(answer.status for answer in answers) == {200: 1, 412: 19}


async def test_a_domain_and_its_last_mailbox(api: Api) -> None:
    """Removing a domain while mailboxes come: either they are there or the domain is not."""
    for _ in range(10):
        await api.post("/domains", domain())
        removed, made = await asyncio.gather(
            api.delete("/domains/example.com"), api.post("/mailboxes", mailbox("a@example.com"))
        )
        assert (removed.status, made.status) in ((200, 404), (409, 201))
        if removed.status == 409:
            assert (await api.delete("/domains/example.com?cascade=true")).status == 200
        assert api.file("users") == api.file("virtual_mailbox_domains") == ""


async def test_a_target_goes_while_it_is_named(filled: Api) -> None:
    """An alias to a mailbox that is being removed: refused, or it goes with it."""
    for _ in range(10):
        await filled.made("/mailboxes", mailbox("c@example.com"))
        removed, made = await asyncio.gather(
            filled.delete("/mailboxes/c@example.com"),
            filled.post("/aliases", alias("to-c@example.com", "c@example.com")),
        )
        assert removed.status == 200
        assert made.status in (201, 400)
        assert (await filled.get("/aliases?q=to-c")).json == []
        assert "to-c" not in filled.file("virtual_alias_maps")


async def test_load_makes_batches_bigger(api: Api) -> None:
    """A hundred changes at once need far fewer transactions, and have each its own generation."""
    await api.made("/domains", domain())
    batches = api.context.writer.batches
    answers = await asyncio.gather(
        *(api.post("/mailboxes", mailbox(f"m{n}@example.com")) for n in range(100))
    )
    assert all(answer.status == 201 and answer.json["applied"] for answer in answers)
    generations = {answer.json["generation"] for answer in answers}
    assert generations == set(range(2, 102))
    assert api.context.writer.batches - batches < 50


async def test_reads_during_writes(filled: Api) -> None:
    """A client reads at once what was answered to it, and never half a change."""

    async def client(name: str) -> None:
        for number in range(10):
            email = f"{name}{number}@example.com"
            await filled.made("/mailboxes", mailbox(email))
            assert (await filled.get(f"/mailboxes/{email}")).status == 200
            assert f"{email}:" in filled.file("users")
            await filled.delete(f"/mailboxes/{email}")
            assert (await filled.get(f"/mailboxes/{email}")).status == 404
            assert f"{email}:" not in filled.file("users")

    await asyncio.gather(*(client(name) for name in "pqrstuvw"))
    assert (await filled.get("/domains/example.com")).json["mailboxes_used"] == 2


async def test_hashing_does_not_stop_the_others(start: Any) -> None:
    """While passwords are hashed at an ordinary cost, other requests are answered."""
    api = await start(passwords__bcrypt_rounds=9)
    await api.made("/domains", domain())
    bodies = [mailbox(f"m{n}@example.com", password="long enough") for n in range(4)]
    hashing = [asyncio.create_task(api.post("/mailboxes", body)) for body in bodies]
    answered = 0
    while not all(task.done() for task in hashing):
        assert (await api.get("/healthz")).status == 200
        answered += 1
    assert answered > 4
    assert {task.result().status for task in hashing} == {201}
