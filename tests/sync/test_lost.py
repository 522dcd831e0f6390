"""Sync jobs where the source or the mailbox misbehaves: no message is lost, and none is twice."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bed import poll
from fakeimap import DATE, FakeImap
from line import Line
from remote import Remote, message
from syncing import OWN, Syncing

pytestmark = pytest.mark.peers


@pytest.fixture
async def fake() -> AsyncIterator[FakeImap]:
    async with FakeImap({number: message("INBOX", number) for number in (1, 2, 3)}) as running:
        yield running


def here(sync: Syncing, email: str, folder: str = "INBOX") -> list[str]:
    return [subject.removeprefix("Subject: ") for subject, _, _ in sync.contents(email)[folder]]


def counts(sync: Syncing, email: str) -> dict[str, int]:
    return {name: len(rows) for name, rows in sync.contents(email).items() if rows}


async def test_many_are_refused(sync: Syncing, remote: Remote) -> None:
    """A quota that is full for more messages than the engine's last words tell of."""
    remote.fill("INBOX", 150, size=50_000)
    ann = await sync.mailbox(quota=1)
    job = await sync.job(ann)
    assert (await sync.ran(job))["exit_status"] == "quota_full"
    await sync.api.changed(f"/mailboxes/{ann}", {"quota": 100})
    assert (await sync.again(job))["exit_status"] == "ok"
    assert sorted(here(sync, ann)) == sorted(f"INBOX {number}" for number in range(1, 151))


async def test_refused_and_killed(sync: Syncing, remote: Remote) -> None:
    """What was refused in a run that was killed arrives in the next one."""
    for folder in ("A", "Z"):  # in whichever order
        remote.fill(folder, 30, size=200_000)
    ann = await sync.mailbox(quota=1)
    async with Line(remote.port) as line:
        line.room = 9_000_000
        job = await sync.job(ann, port1=line.port)
        await line.silent()
        sync.kill()
        line.room = None
        await sync.api.changed(f"/mailboxes/{ann}", {"quota": 100})
        sync.start()
        assert (await sync.ran(job, 2))["exit_status"] == "ok"
    assert counts(sync, ann) == {"A": 30, "Z": 30}


@pytest.mark.parametrize(
    "answer",
    [
        b"TAG NO [SERVERBUG] later\r\n",
        b"TAG OK nothing\r\n",
        b"* 2 FETCH (UID 2 FLAGS () " + DATE + b" BODY[] NIL)\r\nTAG OK done\r\n",
    ],
)
async def test_not_given_once(sync: Syncing, fake: FakeImap, answer: bytes) -> None:
    """The run says so, and the next one asks again."""
    ann = await sync.mailbox()
    fake.answers[2] = answer
    job = await sync.job(ann, port1=fake.port)
    shown = await sync.ran(job)
    assert (shown["exit_status"], shown["messages"]) == ("incomplete", 2)
    assert "did not give: 1" in (await sync.runs(job))[0]["output"]
    fake.answers.clear()
    assert (await sync.again(job))["exit_status"] == "ok"
    assert sorted(here(sync, ann)) == ["INBOX 1", "INBOX 2", "INBOX 3"]
    assert (await sync.again(job))["messages"] == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"Subject: two", "two"),
        (b"Subject: two\r\n", "two"),
        (b"Subject: two\nTo: a@b.test\n", "two"),
        (b"", ""),
    ],
)
async def test_a_header_without_an_end(
    sync: Syncing, fake: FakeImap, text: bytes, found: str
) -> None:
    """The message arrives all the same."""
    ann = await sync.mailbox()
    fake.messages[2] = text
    job = await sync.job(ann, port1=fake.port)
    for messages in (3, 0):
        shown = await (sync.ran(job) if messages else sync.again(job))
        assert (shown["exit_status"], shown["messages"]) == ("ok", messages), await sync.runs(job)
    assert here(sync, ann) == ["INBOX 1", found, "INBOX 3"]


async def test_a_quoted_message(sync: Syncing, fake: FakeImap) -> None:
    """It arrives as a literal would."""
    ann = await sync.mailbox()
    body = rb'* 2 FETCH (BODY[] "Subject: \"two\"" UID 2 FLAGS (\Seen) ' + DATE
    fake.answers[2] = body + b")\r\nTAG OK done\r\n"
    job = await sync.job(ann, port1=fake.port)
    assert (await sync.ran(job))["exit_status"] == "ok"
    assert here(sync, ann) == ["INBOX 1", '"two"', "INBOX 3"]


async def test_a_huge_message(sync: Syncing, fake: FakeImap) -> None:
    """It is left out, and told; the engine does not hold it."""
    ann = await sync.mailbox()
    fake.messages[2] = bytes(200_000_000)
    job = await sync.job(ann, port1=fake.port)
    most = 0

    def ended(shown: dict[str, Any]) -> bool:
        nonlocal most
        most = max([most, *map(resident, sync.engines())])
        return bool(shown["exit_status"])

    assert (await sync.until(job, ended))["exit_status"] == "incomplete"
    assert "not copied: 1" in (await sync.runs(job))[0]["output"]
    assert here(sync, ann) == ["INBOX 1", "INBOX 3"]
    assert most < 100_000_000


def resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


async def test_a_large_message(sync: Syncing, remote: Remote) -> None:
    """One that is stored as it comes has neighbours that are stored together."""
    for number, size in enumerate((300, 12_000_000, 300, 9_000_000, 300), 1):
        remote.fill("INBOX", 1, first=number, size=size)
    ann = await sync.mailbox()
    job = await sync.job(ann)
    assert (await sync.ran(job))["exit_status"] == "ok"
    assert sync.contents(ann) == remote.contents()


async def test_it_does_not_close(sync: Syncing, fake: FakeImap) -> None:
    """A server that stays after LOGOUT holds nothing up."""
    ann = await sync.mailbox()
    start = time.monotonic()
    job = await sync.job(ann, port1=fake.port)
    assert (await sync.ran(job))["exit_status"] == "ok"
    assert time.monotonic() - start < 4


async def test_a_folder_is_new_there(sync: Syncing, remote: Remote) -> None:
    """Deleted and made again: the others go on, and it is copied in the run after the next."""
    for folder in ("INBOX", "Work", "Z"):
        remote.fill(folder, 2)
    ann = await sync.mailbox()
    job = await sync.job(ann)
    await sync.ran(job)
    with remote.imap() as client:
        client.delete("Work")
    await asyncio.sleep(1.1)  # UIDVALIDITY is a time in seconds
    remote.fill("Work", 4, first=10)
    remote.fill("Z", 1, first=3)
    assert (await sync.again(job))["exit_status"] == "incomplete"
    assert counts(sync, ann) == {"INBOX": 2, "Work": 2, "Z": 3}
    for messages in (4, 0):
        shown = await sync.again(job)
        assert (shown["exit_status"], shown["messages"]) == ("ok", messages)
    assert counts(sync, ann) == {"INBOX": 2, "Work": 6, "Z": 3}


@pytest.mark.parametrize("again", [False, True])
async def test_a_folder_is_gone_here(sync: Syncing, remote: Remote, again: bool) -> None:
    """Deleted by its owner, who may have made another: it is copied anew."""
    remote.fill("INBOX", 2)
    remote.fill("Work/a", 3)
    ann = await sync.mailbox()
    job = await sync.job(ann)
    await sync.ran(job)
    with sync.bed.imap(ann, OWN) as client:
        assert client.delete("Work.a")[0] == "OK"
        if again:
            await asyncio.sleep(1.1)  # UIDVALIDITY is a time in seconds
            client.create("Work.a")
            client.append("Work.a", "", None, message("here", 1))
    remote.fill("INBOX", 1, first=3)
    assert (await sync.again(job))["exit_status"] == "incomplete"
    assert counts(sync, ann) == {"INBOX": 3} | ({"Work.a": 1} if again else {})
    for messages in (3, 0):
        shown = await sync.again(job)
        assert (shown["exit_status"], shown["messages"]) == ("ok", messages)
    assert counts(sync, ann) == {"INBOX": 3, "Work.a": 4 if again else 3}


async def test_the_mail_is_gone_here(sync: Syncing, remote: Remote) -> None:
    """All of it, but not what the engine remembers: it is copied anew."""
    remote.fill("INBOX", 3)
    ann = await sync.mailbox()
    job = await sync.job(ann)
    await sync.ran(job)
    home = sync.bed.root / "mail" / sync.domain / "ann"
    for path in home.iterdir():
        if path.name != "mailapi-sync":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    await asyncio.sleep(1.1)  # UIDVALIDITY is a time in seconds
    assert (await sync.again(job))["exit_status"] == "incomplete"
    assert (await sync.again(job))["exit_status"] == "ok"
    assert sync.contents(ann) == remote.contents()


async def test_names_stay(sync: Syncing, remote: Remote) -> None:
    """Two folders that would have one name here: none takes the other's, whatever is excluded."""
    remote.fill("a.b", 1)
    remote.fill("a_b", 2)
    ann = await sync.mailbox()
    job = await sync.job(ann)
    await sync.ran(job)
    found = sync.contents(ann)
    assert sorted(len(rows) for rows in found.values() if rows) == [1, 2]
    for exclude in (["a.b"], ["a_b"], []):
        await sync.api.changed(f"/syncjobs/{job}", {"exclude": exclude})
        shown = await sync.ran(job, len(await sync.runs(job)) + 1)
        assert (shown["exit_status"], shown["messages"]) == ("ok", 0)
    assert sync.contents(ann) == found


async def test_listed_twice(sync: Syncing, fake: FakeImap) -> None:
    """Each message arrives once."""
    ann = await sync.mailbox()
    fake.folders *= 2
    job = await sync.job(ann, port1=fake.port)
    assert (await sync.ran(job))["exit_status"] == "ok"
    assert counts(sync, ann) == {"INBOX": 3}


@pytest.mark.parametrize("delete2", [False, True])
async def test_deleted_but_not_expunged_there(sync: Syncing, remote: Remote, delete2: bool) -> None:
    r"""A message that is \Deleted is there until it is expunged."""
    remote.fill("INBOX", 3)
    ann = await sync.mailbox()
    job = await sync.job(ann, delete2=delete2)
    with remote.imap() as client:
        client.select("INBOX")
        client.store("2", "+FLAGS", r"(\Deleted \Answered)")
    assert (await sync.ran(job))["exit_status"] == "ok"
    flags = [row[1] for row in sync.contents(ann)["INBOX"]]
    assert flags == ["", r"\Answered", r"\Seen"]
    with remote.imap() as client:
        client.select("INBOX")
        client.expunge()
    assert (await sync.again(job))["exit_status"] == "ok"
    assert len(here(sync, ann)) == (2 if delete2 else 3)


async def test_deleted_but_not_expunged_here(sync: Syncing, remote: Remote) -> None:
    r"""With delete2: what its owner has only marked stays, until it is gone at the source."""
    remote.fill("INBOX", 4)
    ann = await sync.mailbox()
    job = await sync.job(ann, delete2=True)
    await sync.ran(job)
    with sync.bed.imap(ann, OWN) as client:
        client.append("INBOX", r"(\Deleted)", None, message("here", 1))
        client.select("INBOX")
        client.store("2,3", "+FLAGS", r"(\Deleted)")
    with remote.imap() as client:
        client.select("INBOX")
        client.store("1,3", "+FLAGS", r"(\Deleted)")
        client.expunge()
    assert (await sync.again(job))["exit_status"] == "ok"
    assert here(sync, ann) == ["INBOX 2", "INBOX 4", "here 1"]
    flags = [row[1] for row in sync.contents(ann)["INBOX"]]
    assert flags == [r"\Deleted", "", r"\Deleted"]
    assert (await sync.again(job))["exit_status"] == "ok"
    assert here(sync, ann) == ["INBOX 2", "INBOX 4", "here 1"]


async def test_the_engine_is_killed(sync: Syncing, remote: Remote) -> None:
    """The run tells the signal, and the next one completes it."""
    remote.fill("INBOX", 40, size=300_000)
    ann = await sync.mailbox()
    async with Line(remote.port) as line:
        line.room = 4_000_000
        job = await sync.job(ann, port1=line.port)
        await line.silent()
        poll(lambda: killed(sync), what="an engine")
        assert (await sync.ran(job))["exit_status"] == "engine_failed"
        assert "ended with signal 9" in (await sync.runs(job))[0]["output"]
        line.room = None
        assert (await sync.again(job))["exit_status"] == "ok"
    assert sync.contents(ann) == remote.contents()


def killed(sync: Syncing) -> bool:
    found = [one for one in sync.engines() if b"mbsync\0" in arguments(one)[:20]]
    for one in found:
        os.kill(one, signal.SIGKILL)
    return bool(found)


def arguments(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
