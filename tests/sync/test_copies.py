"""Sync jobs from a second Dovecot, run by a runner with the rights of the mail's user."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from pathlib import Path

import pytest
from bed import poll
from layout import VMAIL
from line import Line
from remote import PASSWORD, Remote, message
from restapi import canaries
from syncing import OWN, Syncing, state_files

pytestmark = pytest.mark.peers


async def test_a_copy(sync: Syncing, remote: Remote) -> None:
    """Folders, order, dates and flags arrive as they are; a second run copies nothing."""
    counts = {"INBOX": 20, "INBOX/c": 1, "Entw&APw-rfe": 4, "a": 0, "a/b": 3}
    more = int(os.environ.get("MAILAPI_MESSAGES", "0"))  # in 25 more folders
    counts |= {f"Listen/&APw-{number}": more // 25 for number in range(25 if more else 0)}
    for folder, count in counts.items():
        remote.fill(folder, count)
    ann = await sync.mailbox()
    source = remote.contents()
    job = await sync.job(ann)
    shown = await sync.ran(job, timeout=120)
    assert (shown["success"], shown["exit_status"]) == (True, "ok"), await sync.runs(job)
    total = sum(counts.values())
    assert (shown["messages"], shown["share"], shown["is_running"]) == (total, 1.0, False)
    found = sync.contents(ann)
    assert {name.replace(".", "/"): rows for name, rows in found.items()} == source
    shown = await sync.again(job)
    assert (shown["success"], shown["messages"], shown["bytes"]) == (True, 0, 0)
    assert sync.contents(ann) == found
    assert remote.contents() == source


async def test_again_and_again(sync: Syncing, remote: Remote) -> None:
    """New, flagged and moved messages arrive; what is gone there stays, what came here stays."""
    remote.fill("INBOX", 6)
    ann = await sync.mailbox()
    job = await sync.job(ann)
    await sync.ran(job)
    with remote.imap() as client:
        client.create("Archive")
        client.select("INBOX")
        client.store("1", "+FLAGS", r"(\Flagged \Answered)")
        client.store("3", "-FLAGS", r"(\Seen)")
        client.copy("4", "Archive")
        client.store("4,5", "+FLAGS", r"(\Deleted)")
        client.expunge()
    remote.fill("INBOX", 1, first=7)
    with sync.bed.imap(ann, OWN) as client:
        client.append("INBOX", "", None, message("here", 1))
    source = remote.contents()
    shown = await sync.again(job)
    assert (shown["exit_status"], shown["messages"]) == ("ok", 2)
    found = sync.contents(ann)
    flags = {row[0]: row[1] for row in found["INBOX"]}
    assert flags["Subject: INBOX 1"] == r"\Answered \Flagged"
    assert flags["Subject: INBOX 3"] == ""
    for subject in ("INBOX 4", "INBOX 5", "INBOX 7", "here 1"):
        assert f"Subject: {subject}" in flags
    assert len(found["INBOX"]) == 8
    assert found["Archive"] == source["Archive"]
    assert remote.contents() == source


async def test_delete2(sync: Syncing, remote: Remote) -> None:
    """What is gone there goes here; what was never there stays."""
    remote.fill("INBOX", 5)
    ann = await sync.mailbox()
    job = await sync.job(ann, delete2=True)
    await sync.ran(job)
    with remote.imap() as client:
        client.select("INBOX")
        client.store("2,4", "+FLAGS", r"(\Deleted)")
        client.expunge()
    with sync.bed.imap(ann, OWN) as client:
        client.append("INBOX", "", None, message("here", 1))
    source = remote.contents()
    assert (await sync.again(job))["exit_status"] == "ok"
    subjects = [row[0] for row in sync.contents(ann)["INBOX"]]
    assert subjects == [f"Subject: {one}" for one in ("INBOX 1", "INBOX 3", "INBOX 5", "here 1")]
    assert remote.contents() == source


async def test_exclude_and_subfolder2(sync: Syncing, remote: Remote) -> None:
    """Patterns keep folders out; the rest is below the folder that is named."""
    for folder in ("INBOX", "Junk", "Junk/2020", "Lists/a", "Lists/a/b", "v1.0"):
        remote.fill(folder, 1)
    ann = await sync.mailbox()
    job = await sync.job(ann, exclude=["Junk*", "Lists/%"], subfolder2="Old/Wörk")
    assert (await sync.ran(job))["exit_status"] == "ok"
    found = {name for name, rows in sync.contents(ann).items() if rows}
    assert found == {f"Old.W&APY-rk.{name}" for name in ("INBOX", "Lists.a.b", "v1_0")}


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"host1": "nothing.invalid"}, "host_not_found"),
        ({"port1": 1}, "refused"),
        ({"password1": "wrong"}, "login_failed"),
        ({"enc1": "SSL"}, "tls_failed"),
    ],
    ids=str,
)
async def test_why_it_failed(sync: Syncing, fields: dict[str, object], result: str) -> None:
    """A run, and a test beforehand, say what is wrong, and nothing of the password."""
    ann = await sync.mailbox()
    shown = await sync.ran(await sync.job(ann, **fields))
    assert (shown["success"], shown["exit_status"]) == (False, result)
    assert shown["next_run"] is not None
    answer = await sync.tested(ann, **fields)
    assert f"({result})" in answer.fault(400, "remote_failed", *answer.fields())
    assert "wrong" not in sync.said()


async def test_certificates(sync: Syncing, remote: Remote) -> None:
    """SSL and TLS are checked: for the name that was given, and by whom it was issued."""
    remote.fill("INBOX", 1)
    ann = await sync.mailbox()
    ssl, tls = {"enc1": "SSL", "port1": remote.tls_port}, {"enc1": "TLS", "port1": remote.port}
    for fields in (ssl, tls):
        answer = await sync.tested(ann, **fields)
        assert answer.status == 200, answer.text
        assert answer.json["data"]["messages"] == 1
        job = await sync.job(ann, **fields)
        assert (await sync.ran(job))["exit_status"] == "ok"
        answer = await sync.tested(ann, host1="localhost", **fields)
        assert "(certificate_name)" in answer.fault(400, "remote_failed", "host1")
    remote.certificate()
    remote.stop()
    remote.start()
    answer = await sync.tested(ann, **ssl)
    assert "(certificate)" in answer.fault(400, "remote_failed", "host1")


async def test_refused_log_ins_end_it(sync: Syncing, remote: Remote) -> None:
    """After three the job waits for somebody; a new password lets it run."""
    ann = await sync.mailbox()
    job = await sync.job(ann, password1="wrong")
    await sync.ran(job)
    for count in (2, 3):
        sync.due(job)
        shown = await sync.ran(job, count)
    assert (shown["exit_status"], shown["next_run"]) == ("login_failed", None)
    await sync.api.changed(f"/syncjobs/{job}", {"password1": PASSWORD})
    assert (await sync.ran(job, 4))["exit_status"] == "ok"


async def test_the_quota_is_full(sync: Syncing, remote: Remote) -> None:
    """The run says so; with more room the next one completes it, each message once."""
    remote.fill("INBOX", 6, size=400_000)
    ann = await sync.mailbox(quota=1)
    job = await sync.job(ann)
    assert (await sync.ran(job))["exit_status"] == "quota_full"
    await sync.api.changed(f"/mailboxes/{ann}", {"quota": 100})
    assert (await sync.again(job))["exit_status"] == "ok"
    assert sync.contents(ann) == remote.contents()
    assert (await sync.again(job))["messages"] == 0


async def test_maxage(sync: Syncing, remote: Remote) -> None:
    """Older messages are not copied; what was copied stays as it grows older."""
    remote.fill("INBOX", 4)  # in the year 2020
    day = 86_400
    now = time.time()
    remote.add("INBOX", [(10, now - 30 * day), (11, now - 5 * day), (12, now - 300)])
    ann = await sync.mailbox()
    job = await sync.job(ann, maxage=10, delete2=True)
    assert (await sync.ran(job))["messages"] == 2
    assert subjects(sync, ann) == {11, 12}
    await sync.api.changed(f"/syncjobs/{job}", {"maxage": 2})
    assert (await sync.ran(job, 2))["messages"] == 0
    assert subjects(sync, ann) == {11, 12}
    await sync.api.changed(f"/syncjobs/{job}", {"maxage": 100})
    assert (await sync.ran(job, 3))["messages"] == 1
    await sync.api.changed(f"/syncjobs/{job}", {"maxage": 0})
    assert (await sync.ran(job, 4))["messages"] == 4
    assert subjects(sync, ann) == {1, 2, 3, 4, 10, 11, 12}
    with remote.imap() as client:
        client.select("INBOX")
        client.store("1", "+FLAGS", r"(\Deleted)")
        client.expunge()
    assert (await sync.again(job))["exit_status"] == "ok"
    assert subjects(sync, ann) == {2, 3, 4, 10, 11, 12}


def subjects(sync: Syncing, email: str) -> set[int]:
    """The numbers of the messages in the INBOX, of which none is there twice."""
    found = [int(subject.split()[-1]) for subject, _, _ in sync.contents(email)["INBOX"]]
    assert len(set(found)) == len(found)
    return set(found)


async def test_what_was_removed_here(sync: Syncing, remote: Remote) -> None:
    """A message that the owner has removed does not come back, nor when a run was cut off."""
    remote.fill("INBOX", 5)
    ann = await sync.mailbox()
    job = await sync.job(ann)
    await sync.ran(job)
    with sync.bed.imap(ann, OWN) as client:
        client.select("INBOX")
        client.store("2,5", "+FLAGS", r"(\Deleted)")
        client.expunge()
    for mark in (False, True):
        if mark:
            (found,) = [path for path in state_files(sync.bed, ann) if path.is_dir()]
            (found / "unfinished").touch()
            os.chown(found / "unfinished", VMAIL, VMAIL)
        for _ in range(2):
            shown = await sync.again(job)
            assert (shown["exit_status"], shown["messages"]) == ("ok", 0)
    assert len(sync.contents(ann)["INBOX"]) == 3


async def test_it_is_cut_in_the_middle(sync: Syncing, remote: Remote, line: Line) -> None:
    """The connection goes away: the run says so, and the next one completes it."""
    remote.fill("INBOX", 40, size=300_000)
    ann = await sync.mailbox()
    job = await sync.job(ann, port1=line.port)
    await line.silent()
    line.cut()
    assert (await sync.ran(job))["exit_status"] == "connection_lost"
    line.room = None
    assert (await sync.again(job))["exit_status"] == "ok"
    assert sync.contents(ann) == remote.contents()


async def test_it_is_gone(sync: Syncing, remote: Remote) -> None:
    """Nobody is there: the run says so."""
    ann = await sync.mailbox()
    remote.stop()
    job = await sync.job(ann)
    assert (await sync.ran(job))["exit_status"] == "refused"


async def test_it_hangs(sync: Syncing, remote: Remote, line: Line) -> None:
    """The remote side says nothing any more: the run says so, and the next one completes it."""
    remote.fill("INBOX", 40, size=300_000)
    ann = await sync.mailbox()
    job = await sync.job(ann, port1=line.port)
    assert (await sync.ran(job))["exit_status"] == "timeout"
    line.room = None
    assert (await sync.again(job))["exit_status"] == "ok"
    assert sync.contents(ann) == remote.contents()


async def test_switched_off_while_it_runs(sync: Syncing, remote: Remote, line: Line) -> None:
    """active:false and DELETE end a run; no engine is left."""
    remote.fill("INBOX", 40, size=300_000)
    ann, bob = await sync.mailbox(), await sync.mailbox("bob")
    job, other = [await sync.job(one, port1=line.port) for one in (ann, bob)]
    for one in (job, other):
        await sync.until(one, lambda shown: shown["is_running"])
    await line.silent()
    await sync.api.changed(f"/syncjobs/{job}", {"active": False})
    assert (await sync.api.delete(f"/syncjobs/{other}")).status == 200
    shown = await sync.ran(job)
    assert (shown["exit_status"], shown["next_run"]) == ("stopped", None)
    poll(lambda: not sync.engines(), what="the end of the engines")
    line.room = None
    await sync.api.changed(f"/syncjobs/{job}", {"active": True})
    assert (await sync.ran(job, 2))["exit_status"] == "ok"
    assert sync.contents(ann) == remote.contents()


async def test_changed_while_it_runs(sync: Syncing, remote: Remote, line: Line) -> None:
    """The run ends, without a failure, and the next one goes by what the job is now."""
    remote.fill("INBOX", 40, size=300_000)
    ann = await sync.mailbox()
    job = await sync.job(ann, port1=line.port)
    await line.silent()
    change = {"port1": remote.port, "password1": PASSWORD}
    await sync.api.changed(f"/syncjobs/{job}", change)
    assert (await sync.ran(job, 2))["exit_status"] == "ok"
    assert [run["result"] for run in await sync.runs(job)] == ["ok", "stopped"]
    assert sync.contents(ann) == remote.contents()


async def test_made_again_while_it_runs(sync: Syncing, remote: Remote, line: Line) -> None:
    """A job that takes another's place begins when the engine of that one has ended."""
    remote.fill("INBOX", 40, size=300_000)
    ann = await sync.mailbox()
    job = await sync.job(ann, port1=line.port)
    await line.silent()
    before = set(sync.engines())
    assert (await sync.api.delete(f"/syncjobs/{job}")).status == 200
    other = await sync.job(ann)
    while not (await sync.show(other))["is_running"]:
        await asyncio.sleep(0.01)
    assert not before & set(sync.engines())
    assert (await sync.ran(other))["exit_status"] == "ok"
    assert sync.contents(ann) == remote.contents()


async def test_sigterm(sync: Syncing, remote: Remote, line: Line) -> None:
    """The runner ends its engines, reports, and leaves; the next one completes the copy."""
    remote.fill("INBOX", 40, size=300_000)
    ann = await sync.mailbox()
    job = await sync.job(ann, port1=line.port)
    await line.silent()
    assert await sync.stop() == 0
    shown = await sync.show(job)
    assert (shown["is_running"], shown["exit_status"]) == (False, "stopped")
    assert not sync.engines()
    line.room = None
    sync.start()
    assert (await sync.ran(job, 2))["exit_status"] == "ok"
    assert sync.contents(ann) == remote.contents()


async def test_kill_9(sync: Syncing, remote: Remote, line: Line) -> None:
    """The runner is killed at random moments: in the end every message is there exactly once."""
    kills = int(os.environ.get("MAILAPI_KILLS", "8"))
    for folder in ("INBOX", "Sent", "a/b"):
        remote.fill(folder, 20 * kills, size=10_000)
    ann = await sync.mailbox()
    line.room, line.rate = None, 600_000
    job = await sync.job(ann, port1=line.port)
    copied = []
    for number in range(1, kills + 1):
        await sync.begun(job, number)
        await line.passes(random.randrange(300_000))
        copied.append(len(list((sync.bed.root / "mail").rglob("Maildir/**/[cn]*/*.*"))))
        sync.kill()
        sync.start()
    print("killed after so many messages:", copied)
    assert len(set(copied)) > kills / 3  # in the middle, most of the times
    line.rate = None
    await sync.begun(job, kills + 1)
    shown = await sync.until(job, lambda shown: shown["exit_status"] == "ok", 60)
    assert not shown["is_running"]
    found = {name.replace(".", "/"): rows for name, rows in sync.contents(ann).items() if rows}
    assert {name: sorted(rows) for name, rows in found.items()} == {
        name: sorted(rows) for name, rows in remote.contents().items()
    }
    assert {run["result"] for run in await sync.runs(job)} <= {"ok", "interrupted"}


async def test_many_at_once(sync: Syncing, remote: Remote) -> None:
    """No more than max_parallel run, never two of one mailbox, and all complete."""
    remote.fill("INBOX", 3)
    jobs = []
    for number in range(6):
        email = await sync.mailbox(f"m{number}")
        jobs += [await sync.job(email), await sync.job(email, subfolder2="Other")]
    most = 0
    while not all([(await sync.show(job))["exit_status"] for job in jobs]):
        rows = sync.api.rows("SELECT mailbox_id FROM sync_job WHERE running IS NOT NULL")
        assert len(set(rows)) == len(rows)
        most = max(most, len(rows))
        await asyncio.sleep(0.01)
    assert 1 <= most <= 2
    assert {(await sync.show(job))["exit_status"] for job in jobs} == {"ok"}


async def test_the_password_is_nowhere(sync: Syncing, remote: Remote, line: Line) -> None:
    """While it runs: not in the arguments or environments of processes, nor in files or logs."""
    remote.fill("INBOX", 40, size=300_000)
    ann = await sync.mailbox()
    job = await sync.job(ann, port1=line.port)
    await line.silent()
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                assert PASSWORD.encode() not in (process / name).read_bytes(), process
    assert canaries(sync.bed.root, PASSWORD) == []
    for directory in Path("/dev/shm").glob("mailapi-sync-*"):
        assert canaries(directory, PASSWORD) == []
    await sync.api.changed(f"/syncjobs/{job}", {"active": False})
    assert PASSWORD not in str(await sync.runs(job))
