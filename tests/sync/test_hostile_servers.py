"""Sync jobs whose remote side, runner or engine does not behave, from end to end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bed import Bed
from hostile import Hostile
from line import Line
from remote import Remote
from syncing import Syncing

pytestmark = pytest.mark.peers


@pytest.fixture
async def sync(bed: Bed, remote: Remote) -> AsyncIterator[Syncing]:
    async with Syncing(bed, remote, max_parallel=1) as running:
        yield running


@pytest.fixture
async def line(remote: Remote) -> AsyncIterator[Line]:
    """It goes silent in the middle of a copy."""
    remote.fill("INBOX", 40, size=300_000)
    async with Line(remote.port) as running:
        running.room = 4_000_000
        yield running


async def test_a_test_while_all_runs_are_taken(sync: Syncing, line: Line) -> None:
    """It is answered as ever."""
    ann, bob = await sync.mailbox(), await sync.mailbox("bob")
    job = await sync.job(ann, port1=line.port)
    await line.silent()
    answer = await asyncio.wait_for(sync.tested(bob), 5)
    assert answer.json["data"]["messages"] == 40, answer.text
    assert (await sync.show(job))["is_running"]


async def test_patterns_and_lines_that_take_for_ever(sync: Syncing, remote: Remote) -> None:
    """They do not; and numbers beyond all measure are taken."""
    remote.fill("INBOX", 1)
    ann = await sync.mailbox()
    said = b'* LIST () "' + b"\\" * 81 + b'\r\n* LIST () "/" INBOX\r\nTAG OK\r\n'
    status = b"* STATUS INBOX (MESSAGES 99999999999999999999)\r\nTAG OK\r\n"
    async with Hostile(LIST=said, STATUS=status) as server:
        answer = await sync.tested(ann, port1=server.port)
    assert answer.json["data"]["messages"] == 10**15, answer.text
    job = await sync.job(ann, exclude=["*" * 250 + "z"])
    assert (await sync.ran(job))["exit_status"] == "ok"


async def test_an_engine_that_hangs(sync: Syncing, line: Line) -> None:
    """A job is switched off while its programs answer to nothing but SIGKILL: they are gone."""
    ann = await sync.mailbox()
    job = await sync.job(ann, port1=line.port)
    await line.silent()
    for program in sync.engines():
        os.kill(program, signal.SIGSTOP)
    await sync.api.changed(f"/syncjobs/{job}", {"active": False})
    assert (await sync.ran(job))["exit_status"] == "stopped"
    assert not sync.engines()


async def test_log_ins_that_are_refused_for_now(sync: Syncing) -> None:
    """However often: the job is due again."""
    ann = await sync.mailbox()
    async with Hostile(LOGIN=b"TAG NO [UNAVAILABLE] later\r\n") as server:
        job = await sync.job(ann, port1=server.port)
        for count in (1, 2, 3, 4):
            sync.due(job)
            shown = await sync.ran(job, count)
    assert shown["exit_status"] == "login_unavailable"
    assert shown["next_run"] is not None


@pytest.mark.parametrize(
    "odd", [b'"/" ' + b"x" * 1005, b'"ab" xaby', b'"\x01" x\x01y'], ids=["long", "two", "control"]
)
async def test_folders_that_cannot_be_copied(sync: Syncing, odd: bytes) -> None:
    """The others are, and the run tells."""
    ann = await sync.mailbox()
    said = b"* LIST () " + odd + b'\r\n* LIST () "/" INBOX\r\n* LIST () "/" Good\r\nTAG OK\r\n'
    async with Hostile(LIST=said) as server:
        job = await sync.job(ann, port1=server.port)
        shown = await sync.ran(job)
    assert shown["exit_status"] == "incomplete", await sync.runs(job)
    assert "cannot be copied: 1" in (await sync.runs(job))[0]["output"]
    assert "Good" in sync.contents(ann)


@pytest.mark.parametrize(
    ("said", "exclude", "result"),
    [
        (b'* LIST () "/" ' + b"x" * 500 + b"\r\nTAG OK\r\n", [], "incomplete"),
        (b'* LIST () "/" INBOX\r\nTAG OK\r\n', ["*"], "ok"),
        (b"TAG OK\r\n", [], "ok"),
        (b"* LIST () NIL INBOX\r\nTAG OK\r\n", [], "ok"),
    ],
    ids=["unusable", "excluded", "none", "flat"],
)
async def test_nothing_to_copy(sync: Syncing, said: bytes, exclude: list[str], result: str) -> None:
    """No folder at all, or none with levels: no failure."""
    ann = await sync.mailbox()
    async with Hostile(LIST=said) as server:
        job = await sync.job(ann, port1=server.port, exclude=exclude)
        shown = await sync.ran(job)
    assert shown["exit_status"] == result, await sync.runs(job)


@pytest.mark.parametrize(("more", "result"), [(0, "ok"), (1, "incomplete")])
async def test_the_longest_names(sync: Syncing, more: int, result: str) -> None:
    """200 octets, with the folder that all is below."""
    ann, under = await sync.mailbox(), "y" * 50
    name = "/".join(["x" * 9] * 15)[: 149 + more].ljust(149 + more, "x")
    said = f'* LIST () "/" {name}\r\n* LIST () "/" A\r\nTAG OK\r\n'.encode()
    async with Hostile(LIST=said) as server:
        job = await sync.job(ann, port1=server.port, subfolder2=under)
        shown = await sync.ran(job)
    assert shown["exit_status"] == result, await sync.runs(job)
    found = sync.contents(ann)
    assert f"{under}.A" in found
    assert (f"{under}.{name.replace('/', '.')}" in found) is (result == "ok")


async def test_what_a_killed_runner_left(sync: Syncing, line: Line) -> None:
    """Its directories in memory are gone once the next one runs."""
    ann = await sync.mailbox()
    job = await sync.job(ann, port1=line.port)
    await line.silent()
    sync.kill()
    left = [*Path("/dev/shm").glob(f"{sync._mark()}*")]
    assert left
    line.room = None
    sync.start()
    assert (await sync.ran(job, 2))["exit_status"] == "ok"
    assert not any(directory.exists() for directory in left)


def test_the_wrong_user(tmp_path: Path) -> None:
    """Root does not run jobs: the command says who does, and ends as for any bad configuration."""
    file = tmp_path / "config.toml"
    file.write_text(f'[sync]\nsocket = "{tmp_path}/socket"\nuser = "daemon"\n')
    command = (sys.executable, "-m", "mailapi", "sync-runner", "--config", file)
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 78, done.stderr
    assert "daemon" in done.stderr
