"""What the service gives a sync runner, what it makes of reports, and who it takes for one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from commands import run as command
from restapi import JOB as USERS
from restapi import Api, domain, mailbox
from syncwork import FakeRunner, over, under_way

ANN, BOB = "ann@example.com", "bob@example.com"
JOB = USERS | {"username": ANN}
OTHER = """
import socket, sys, time
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
body = b'{"session":"0123456789","free":0,"holding":[]}'
head = b"POST /work HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
peer.sendall(head + body)
print(peer.recv(100).split()[1].decode(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
async def api(start: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setattr("mailapi.api.syncrunner.LONG", 0.0)
    made: Api = await start(sync__socket=place / "sync.sock")
    await made.made("/domains", domain())
    for email in (ANN, BOB):
        await made.made("/mailboxes", mailbox(email))
    return made


@pytest.fixture
async def runner(api: Api) -> AsyncIterator[FakeRunner]:
    async with FakeRunner(api) as running:
        yield running


async def added(api: Api, username: str = ANN) -> int:
    return int((await api.made("/syncjobs", JOB | {"username": username}))["id"])


async def show(api: Api, job: int) -> dict[str, Any]:
    return dict((await api.get(f"/syncjobs/{job}")).json)


def due(api: Api, job: int) -> int:
    ((found,),) = api.rows(f"SELECT due FROM sync_job WHERE id = {job}")
    return int(found)


async def test_a_run(api: Api, runner: FakeRunner) -> None:
    """It begins once, is told of while it runs, and ends."""
    job = await added(api)
    (run,) = (await runner.work())["runs"]
    assert (run["job"], run["password1"], "secret" in run) == (job, JOB["password1"], False)
    number = run["run"]
    assert await runner.begins(number) == []
    assert await runner.report([under_way(number)]) == []
    shown = await show(api, job)
    assert (shown["is_running"], shown["messages"], shown["share"]) == (True, 3, 0.5)
    assert shown["next_run"] is None
    await runner.report(ended=[over(number)])
    shown = await show(api, job)
    assert (shown["is_running"], shown["exit_status"], shown["messages"]) == (False, "ok", 5)
    assert shown["next_run"] is not None


# ---------- reports ----------


@pytest.mark.parametrize(
    "answer",
    [
        {"folders": [], "messages": 10**17, "bytes": 0},
        {"folders": [], "messages": 10**30, "bytes": 0},
        {"folders": [{"name": "\ud800", "messages": 1, "bytes": -1.5, "excluded": False}],
         "messages": 1, "bytes": 1},
        {"folders": [{"name": "f", "messages": 0, "bytes": 0, "excluded": False}] * 10_001,
         "messages": 0, "bytes": 0},
        {"reason": "x" * 501, "code": "timeout", "field": "host1"},
        {},
    ],
    ids=lambda answer: str(answer)[:40],
)  # fmt: skip
async def test_a_bad_answer_hides_nothing(
    api: Api, runner: FakeRunner, answer: dict[str, Any]
) -> None:
    """The client who waits is told that it failed; the runs of the same report are kept."""
    job = await added(api)
    (run,) = await runner.begins()
    waits = asyncio.create_task(api.post("/syncjobs?test=1", JOB))
    async with asyncio.timeout(5):
        while not (tests := (await runner.work([run]))["tests"]):
            await asyncio.sleep(0)
    await runner.report(ended=[over(run)], tested=[answer | {"number": tests[0]["number"]}])
    msg = (await waits).fault(400, "remote_failed", "host1")
    assert "(internal)" in msg
    assert (await show(api, job))["exit_status"] == "ok"


async def test_odd_entries_are_mended(api: Api, runner: FakeRunner) -> None:
    """Numbers, names and texts that do not fit lose neither a result nor a stop."""
    ann, bob = await added(api), await added(api, BOB)
    first, second = await runner.begins()
    odd = {"messages": 10**30, "bytes": -1, "folder": "x" * 1005, "share": float("nan")}
    assert await runner.report([under_way(second, **odd)]) == []
    assert (await show(api, bob))["folder"] == "x" * 1000
    await api.changed(f"/syncjobs/{bob}", {"active": False})
    ended = over(first, messages=10**17, output="\ud800" + "x" * 5000)
    nothing: list[Any] = [None, 7, {}, {"run": "1"}, {"run": -1}]
    stop = await runner.report([under_way(second, **odd), *nothing], [ended, *nothing], nothing)
    assert stop == [second]
    assert (await show(api, ann))["exit_status"] == "ok"
    await runner.report(ended=[over(second, "No Word")])
    assert (await show(api, bob))["exit_status"] == "internal"


async def test_a_result_that_comes_late(api: Api, runner: FakeRunner) -> None:
    """A run that was given up stays in the history as it really ended, and ends no other."""
    job = await added(api)
    (run,) = await runner.begins()
    assert await runner.begins() == []
    assert (await show(api, job))["exit_status"] == "interrupted"
    (again,) = await begun(api, runner, job)
    await runner.report(ended=[over(run)])
    newest, oldest = (await api.get(f"/syncjobs/{job}/runs")).json
    assert (newest["id"], newest["result"], oldest["result"]) == (again, None, "ok")
    assert (await show(api, job))["is_running"]


async def begun(api: Api, runner: FakeRunner, job: int, *holding: int) -> list[int]:
    """The runs that begin, as soon as somebody starts the job."""
    assert (await api.post(f"/syncjobs/{job}/run")).status == 200
    return await runner.begins(*holding)


# ---------- engines that still end ----------


async def test_a_job_is_made_again(api: Api, runner: FakeRunner) -> None:
    """No second engine of a mailbox, though the job of the first one is gone; others begin."""
    job = await added(api)
    (run,) = await runner.begins()
    assert (await api.delete(f"/syncjobs/{job}")).status == 200
    await added(api)
    bob = await added(api, BOB)
    (other,) = (await runner.work([run]))["runs"]
    assert other["job"] == bob
    assert await runner.report([under_way(run), under_way(other["run"])]) == [run]
    assert await runner.begins(run, other["run"]) == []
    await runner.report(ended=[over(run, "stopped")])
    assert len(await runner.begins(run, other["run"])) == 1, "it asked before it knew"


async def test_a_mailbox_is_made_again(api: Api, runner: FakeRunner) -> None:
    """It is the address that counts: there the mail lies."""
    await added(api)
    (run,) = await runner.begins()
    assert (await api.delete(f"/mailboxes/{ANN}")).status == 200
    await api.made("/mailboxes", mailbox(ANN))
    await added(api)
    assert await runner.begins(run) == []
    assert len(await runner.begins()) == 1


async def test_a_run_was_given_up(api: Api, runner: FakeRunner) -> None:
    """The runner still has it: its mailbox waits."""
    job = await added(api)
    (run,) = await runner.begins()
    assert await runner.begins() == []
    assert await begun(api, runner, job, run) == []
    assert await runner.report([under_way(run)]) == [run]
    assert len(await begun(api, runner, job)) == 1


# ---------- restarts of the service ----------


async def test_a_restart_of_the_service(start: Any, api: Api) -> None:
    """Who reports first is known again: runs go on, and what has ended is kept."""
    ann, bob = await added(api), await added(api, BOB)
    async with FakeRunner(api) as runner:
        session = runner.session
        first, second = await runner.begins()
    await api._client.close()
    api = await start()
    async with FakeRunner(api) as runner:
        runner.session = session
        assert await runner.report([under_way(first)], [over(second)]) == []
        assert api.context.desk.attended
        assert await runner.begins(first, second) == []
        assert (await show(api, ann))["is_running"]
        assert (await show(api, bob))["exit_status"] == "ok"


async def test_a_run_that_nobody_knows(start: Any, api: Api) -> None:
    """Its job was removed before the restart: nothing begins until it has ended."""
    job = await added(api)
    async with FakeRunner(api) as runner:
        (run,) = await runner.begins()
    assert (await api.delete(f"/syncjobs/{job}")).status == 200
    await api._client.close()
    api = await start()
    await added(api)
    async with FakeRunner(api) as runner:
        assert await runner.begins(run) == []
        assert await runner.report([under_way(run)]) == [run]
        await runner.report(ended=[over(run, "stopped")])
        assert len(await runner.begins(run)) == 1


# ---------- who is the runner ----------


async def test_two_runners(api: Api, runner: FakeRunner, tmp_path: Path) -> None:
    """The second one is told, and ends with 75; the first one keeps its runs."""
    job = await added(api)
    (run,) = await runner.begins()
    socket = str(api.config.sync.socket)
    done = await asyncio.to_thread(
        command, "sync-runner", f"--dev={tmp_path}", cwd=tmp_path,
        MAILAPI_SYNC__SOCKET=socket, MAILAPI_SYNC__USER=str(os.geteuid()),
    )  # fmt: skip
    assert done.returncode == 75, done.stderr
    assert "Another sync runner is connected" in done.stderr
    assert await runner.report([under_way(run)]) == []
    assert (await show(api, job))["is_running"]


async def test_a_runner_is_killed(api: Api, runner: FakeRunner) -> None:
    """Another one takes its place at once, and not before."""
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(api.config.sync.socket)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout is not None
        assert await asyncio.to_thread(other.stdout.readline) == "200\n"
        assert (await runner.ask("/work", free=1, holding=[]))[0] == 409
        assert (await runner.ask("/report", running=[], ended=[], tested=[]))[0] == 409
        other.kill()
    assert await runner.begins() == []


# ---------- keys ----------


async def test_the_keys_are_spoiled(api: Api, runner: FakeRunner) -> None:
    """Runs end one by one, with a pause; who sets a password is told what to mend."""
    jobs = [await added(api), await added(api, BOB)]
    file = api.config.sync.key_file
    kept = file.read_bytes()
    file.write_text("spoiled\n")
    now = time.time()
    assert await runner.begins() == []
    for job in jobs:
        assert (await show(api, job))["exit_status"] == "password_unreadable"
        assert due(api, job) >= now + 20 * 60
        (run,) = (await api.get(f"/syncjobs/{job}/runs")).json
        assert "[sync] key_file" in run["output"]
    for answer in (
        await api.post("/syncjobs", JOB),
        await api.put(f"/syncjobs/{jobs[0]}", {"password1": "p"}),
        await api.post("/batch", [{"method": "POST", "path": "/syncjobs", "body": JOB}]),
    ):
        assert "key_file" in answer.fault(503, "no_secrets")
        assert "Retry-After" in answer.headers
    file.write_bytes(kept)
    assert len(await begun(api, runner, jobs[0])) == 1


# ---------- changes and interruptions ----------


@pytest.mark.parametrize("result", ["stopped", "login_failed", "ok", "interrupted"])
async def test_a_change_while_it_runs(api: Api, runner: FakeRunner, result: str) -> None:
    """The run has to stop, is no failure of the changed job, and the next one begins at once."""
    job = await added(api)
    (run,) = await runner.begins()
    await api.changed(f"/syncjobs/{job}", {"delete2": False})
    assert await runner.report([under_way(run)]) == []
    await api.changed(f"/syncjobs/{job}", {"delete2": True})
    assert await runner.report([under_way(run)]) == [run]
    await runner.report(ended=[over(run, result)])
    assert (await show(api, job))["exit_status"] == result
    (again,) = (await runner.work())["runs"]
    assert again["delete2"]
    assert await runner.report([under_way(again["run"])]) == []
    assert api.rows("SELECT failures, login_failures FROM sync_job") == [(0, 0)]


async def test_it_is_interrupted_again_and_again(api: Api, runner: FakeRunner) -> None:
    """The pause grows up to an hour while nothing is copied, and no failure counts."""
    job = await added(api)

    async def pause(messages: int = 0) -> int:
        """Seconds until it is due, after a run that the runner has lost."""
        (run,) = await begun(api, runner, job)
        await runner.report([under_way(run, messages=messages)])
        now = int(time.time())
        await runner.work(free=0)
        return due(api, job) - now

    expected = [min(3600, 2**n) for n in range(14)]
    for seconds in expected:
        assert await pause() in (seconds, seconds + 1)
    assert await pause(messages=1) in (1, 2)
    assert await pause() in (1, 2)
    assert await pause() in (2, 3)
    (run,) = await begun(api, runner, job)
    await runner.report(ended=[over(run)])
    assert await pause() in (1, 2)
    assert api.rows("SELECT failures FROM sync_job") == [(0,)]
