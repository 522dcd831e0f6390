"""Sync jobs as the API keeps them: fields, rules, who may, and what never shows."""

from __future__ import annotations

from typing import Any

import pytest
from restapi import JOB as USERS
from restapi import Api, canaries, domain, mailbox

JOB = USERS | {"username": "ann@example.com"}
PASSWORD = JOB["password1"]


async def test_a_job_is_added(filled: Api) -> None:
    """POST answers 201 with the defaults filled in, and the job is due at once."""
    answer = await filled.post("/syncjobs", JOB)
    assert answer.status == 201
    assert answer.json["msg"] == "Sync job has been added"
    assert answer.headers["Location"] == "/api/v1/syncjobs/1"
    data = answer.json["data"]
    assert data == (await filled.get("/syncjobs/1")).json
    for name, value in {
        "id": 1, "username": "ann@example.com", "port1": 993, "enc1": "SSL", "mins_interval": 20,
        "subfolder2": "", "maxage": 0,
        "exclude": [], "delete2": False, "active": True, "is_running": False,
        "last_run": None, "success": None, "exit_status": None, "messages": 0, "bytes": 0,
        "folder": None, "share": None,
    }.items():  # fmt: skip
        assert data[name] == value
    assert data["next_run"] is not None
    assert "password1" not in data


async def test_what_was_read_can_be_put(filled: Api) -> None:
    """PUT takes what GET shows, and changes only what differs."""
    await filled.made("/syncjobs", JOB)
    shown = (await filled.get("/syncjobs/1")).json
    assert await filled.changed("/syncjobs/1", shown) == shown
    changed = await filled.changed("/syncjobs/1", {"exclude": ["Junk*"], "active": False})
    assert changed["exclude"] == ["Junk*"]
    assert changed["next_run"] is None
    (await filled.put("/syncjobs/1", {"username": "bob@example.com"})).fault(
        400, "invalid", "username"
    )


async def test_the_generation_stays(filled: Api) -> None:
    """Sync jobs are rendered nowhere: their changes make no new generation, but log lines."""
    before = filled.generation()
    await filled.made("/syncjobs", JOB)
    await filled.changed("/syncjobs/1", {"mins_interval": 5})
    assert (await filled.delete("/syncjobs/1")).json["msg"] == "Sync job has been removed"
    assert filled.generation() == before
    changes = (await filled.get("/changes?limit=3")).json
    assert [c["action"] for c in changes] == ["remove", "update", "add"]
    assert {c["object"] for c in changes} == {"sync_job"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"host1": "10.0.0.1"}, "host1"),
        ({"host1": "::1"}, "host1"),
        ({"host1": "169.254.169.254"}, "host1"),
        ({"host1": "::ffff:127.0.0.1"}, "host1"),
        ({"host1": "64:ff9b::7f00:1"}, "host1"),
        ({"host1": "localhost"}, "host1"),
        ({"host1": "a b"}, "host1"),
        ({"host1": "imap.example.org\nUser x"}, "host1"),
        ({"host1": ""}, "host1"),
        ({"host1": "0"}, "host1"),
        ({"host1": "0x7f000001"}, "host1"),
        ({"port1": 0}, "port1"),
        ({"port1": "993"}, "port1"),
        ({"user1": "a\r\nb"}, "user1"),
        ({"password1": "a\nb"}, "password1"),
        ({"password1": ""}, "password1"),
        ({"enc1": "PLAIN"}, "enc1"),
        ({"enc1": "ssl"}, "enc1"),
        ({"mins_interval": 0}, "mins_interval"),
        ({"mins_interval": 43801}, "mins_interval"),
        ({"maxage": -1}, "maxage"),
        ({"subfolder2": "/Old"}, "subfolder2"),
        ({"subfolder2": "a//b"}, "subfolder2"),
        ({"subfolder2": 'a"b'}, "subfolder2"),
        ({"exclude": "Junk"}, "exclude"),
        ({"exclude": [""]}, "exclude.0"),
    ],
    ids=str,
)
async def test_refused_fields(still: Api, fields: dict[str, Any], field: str) -> None:
    """A field that is not right is named; nothing is stored."""
    (await still.post("/syncjobs", JOB | fields)).fault(400, "invalid", field)


async def test_there_must_be_a_mailbox(still: Api) -> None:
    """A job of an address that is no mailbox is refused."""
    (await still.post("/syncjobs", JOB | {"username": "info@example.com"})).fault(404, "not_found")


async def test_plain_in_two_steps(start: Any) -> None:
    """PLAIN cannot be had by a change of the host alone."""
    api = await start(sync__allow_private_hosts="true")
    await api.made("/domains", domain())
    await api.made("/mailboxes", mailbox("ann@example.com"))
    await api.made("/syncjobs", JOB | {"host1": "127.0.0.1", "enc1": "PLAIN"})
    change = {"host1": "imap.example.org", "password1": PASSWORD}
    (await api.put("/syncjobs/1", change)).fault(400, "invalid", "enc1")
    assert (await api.get("/syncjobs/1")).json["host1"] == "127.0.0.1"


@pytest.mark.parametrize(
    "change",
    [{"host1": "imap.example.net"}, {"port1": 1993}, {"user1": "else"}, {"enc1": "TLS"}],
    ids=str,
)
async def test_the_password_goes_to_one_place(filled: Api, change: dict[str, Any]) -> None:
    """Who changes where it goes has to know it: no stored password is sent to another server."""
    await filled.made("/syncjobs", JOB)
    before = (await filled.get("/syncjobs/1")).json
    msg = (await filled.put("/syncjobs/1", change | {"delete2": True})).fault(
        400, "invalid", "password1"
    )
    assert "stored password" in msg
    items = [
        {"method": "PUT", "path": "/syncjobs/1", "body": {"mins_interval": 5}},
        {"method": "PUT", "path": "/syncjobs/1", "body": change},
    ]
    (_, refused) = (await filled.post("/batch", items)).json
    assert (refused["status"], refused["errors"][0]["field"]) == (400, "password1")
    assert (await filled.get("/syncjobs/1")).json == before
    same = {name: before[name] for name in change} | {"mins_interval": 5}
    assert (await filled.changed("/syncjobs/1", same))["mins_interval"] == 5
    after = await filled.changed("/syncjobs/1", change | {"password1": PASSWORD})
    assert {name: after[name] for name in change} == change


async def test_the_password_shows_nowhere(filled: Api, logged: list[Any]) -> None:
    """Not in answers, files, the change log, the idempotency table, or the log."""
    answers = [
        await filled.post("/syncjobs", JOB, Idempotency_Key="k1"),
        await filled.post("/syncjobs", JOB, Idempotency_Key="k1"),
        await filled.put("/syncjobs/1", {"password1": PASSWORD + "2"}),
        await filled.get("/syncjobs"),
        await filled.get("/changes"),
        await filled.post("/syncjobs?test=1", JOB),
    ]
    assert [a.status for a in answers[:2]] == [201, 201]
    assert len(answers[3].json) == 1
    assert not [a.text for a in answers if PASSWORD in a.text]
    assert PASSWORD not in str(logged)
    assert canaries(filled.config.state.directory.parent, PASSWORD) == []


async def test_jobs_go_with_their_mailbox(filled: Api) -> None:
    """DELETE of the mailbox, or of its domain with cascade, removes them, with log lines."""
    await filled.made("/syncjobs", JOB)
    await filled.made("/syncjobs", JOB | {"username": "bob@example.com"})
    assert (await filled.delete("/mailboxes/ann@example.com")).status == 200
    (await filled.get("/syncjobs/1")).fault(404, "not_found")
    (await filled.delete("/domains/example.com")).fault(409, "not_empty")
    answer = await filled.delete("/domains/example.com?cascade=true")
    assert "1 sync jobs" in answer.json["detail"]
    assert (await filled.get("/syncjobs")).json == []
    removed = [c["name"] for c in (await filled.get("/changes")).json if c["object"] == "sync_job"]
    assert sorted(removed) == ["1", "1", "2", "2"]


async def test_keys_of_other_domains(filled: Api) -> None:
    """A key limited to domains manages and sees the jobs of these only."""
    await filled.made("/syncjobs", JOB)
    other, own = filled.key(domains=["example.net"]), filled.key(domains=["example.com"])
    for answer in (
        await other.get("/syncjobs/1"),
        await other.get("/syncjobs/1/runs"),
        await other.put("/syncjobs/1", {"active": False}),
        await other.delete("/syncjobs/1"),
        await other.post("/syncjobs", JOB),
        await other.post("/syncjobs?test=1", JOB),
        await other.post("/syncjobs/1/run"),
        await filled.key(scope="read").post("/syncjobs?test=1", JOB),
    ):
        answer.fault(403, "forbidden")
    assert (await other.get("/syncjobs")).json == []
    assert len((await own.get("/syncjobs")).json) == 1
    assert (await own.get("/syncjobs/1/runs")).json == []
    assert (await own.post("/syncjobs/1/run")).status == 200


async def test_without_a_runner(filled: Api) -> None:
    """A test is answered with 503; a start says that nobody is there."""
    answer = await filled.post("/syncjobs?test=1", JOB)
    answer.fault(503, "no_runner")
    assert "Retry-After" in answer.headers
    await filled.made("/syncjobs", JOB)
    assert "No sync runner" in (await filled.post("/syncjobs/1/run")).json["detail"]
    await filled.changed("/syncjobs/1", {"active": False})
    (await filled.post("/syncjobs/1/run")).fault(400, "invalid", "active")


async def test_in_a_batch(filled: Api) -> None:
    """Jobs may stand in a batch, behind the mailbox that they are for."""
    new = mailbox("new@example.com")
    items = [
        {"method": "POST", "path": "/mailboxes", "body": new},
        {"method": "POST", "path": "/syncjobs", "body": JOB | {"username": "new@example.com"}},
    ]
    answer = await filled.post("/batch", items)
    assert [item["status"] for item in answer.json] == [201, 201]
