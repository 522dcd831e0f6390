"""The runner's loop towards the service."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hostile import RULES, Hostile
from hypothesis import given
from hypothesis import strategies as st

from mailapi.api import syncrunner
from mailapi.models import parse
from mailapi.syncrunner import runner, told
from mailapi.syncrunner.engine import Outcome, Place, Progress

PLACE = Place("/nowhere", Path("/nowhere"), 60.0)


class Desk:
    """The service behind the real socket: gives what a test has put here, and keeps answers."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.tests: list[dict[str, Any]] = []
        self.answers: dict[int, Any] = {}
        self.ended: list[Any] = []
        self.stop: list[int] = []
        self.reports = 0

    async def work(self, asks: Any, free: int, holding: list[int], seconds: float) -> Any:
        runs, self.runs = self.runs[:free], self.runs[free:]
        tests, self.tests = self.tests, []
        if not runs and not tests:
            await asyncio.sleep(min(seconds, 0.01))
        return runs, tests

    async def report(self, asks: Any, running: Any, ended: Any, tested: Any) -> list[int]:
        self.reports += bool(running)
        self.ended += ended
        self.answers |= dict(tested)
        return self.stop


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """With a runner of one run at once, which is quick to report."""
    monkeypatch.setattr(runner, "REPORT", 0.01)
    monkeypatch.setattr(runner, "PAUSE", 0.01)
    monkeypatch.setattr(runner, "FULL", 0.01)
    desk, path = Desk(), str(tmp_path / "socket")
    app = web.AppRunner(syncrunner.application(desk, str(os.geteuid())))  # type: ignore[arg-type]
    await app.setup()
    await web.UnixSite(app, path).start()
    task = asyncio.create_task(runner.Runner(path, 1, PLACE, RULES).serve())
    yield desk
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await app.cleanup()


async def until(what: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not what():
            await asyncio.sleep(0.002)


async def for_ever(*_: Any) -> Any:
    await asyncio.Event().wait()


# ---------- tests ----------


async def test_tests_do_not_wait_for_runs(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test is answered while all runs are taken, and a run begins as soon as one has ended."""
    monkeypatch.setattr(runner, "run", for_ever)
    desk.runs = [{"run": 1, "job": 1}, {"run": 2, "job": 2}]
    await until(lambda: desk.reports)
    desk.tests = [{"number": 7, "host1": "127.0.0.1", "port1": 1, "enc1": "PLAIN"}]
    await until(lambda: desk.answers)
    assert desk.answers[7]["code"] == "refused"
    assert len(desk.runs) == 1
    desk.stop = [1]
    await until(lambda: not desk.runs)


async def test_a_refused_answer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the service does not take has failed, and is in the way of nothing else."""

    async def tested(test: dict[str, Any], rules: Any) -> dict[str, Any]:
        messages = -1 if test["number"] == 1 else 5
        return {"number": test["number"], "folders": [], "messages": messages, "bytes": None}

    monkeypatch.setattr(told, "tested", tested)
    desk.tests = [{"number": 1}, {"number": 2}]
    await until(lambda: len(desk.answers) == 2)
    assert desk.answers[1]["code"] == "internal"
    assert desk.answers[2]["messages"] == 5


@pytest.mark.parametrize(("size", "code"), [(300, None), (1000, "too_much")])
async def test_a_large_answer(desk: Desk, size: int, code: str | None) -> None:
    """The service gets what it takes, or why there is no more."""
    lines = b"".join(b"* LIST () NIL %d%s\r\n" % (n, b"\x01" * size) for n in range(3000))
    async with Hostile(LIST=lines + b"TAG OK\r\n") as server:
        desk.tests = [server.job(number=1)]
        await until(lambda: desk.answers)
    assert desk.answers[1].get("code") == code
    assert code or len(desk.answers[1]["folders"]) == 3000


async def test_a_failure_of_ours(desk: Desk) -> None:
    """A test that breaks the runner's own code is answered, too."""
    desk.tests = [{"number": 1}]
    await until(lambda: desk.answers)
    assert desk.answers[1]["code"] == "internal"


async def test_few_tests_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight, however many are asked for; those that have waited too long are told so."""
    now, most = 0, 0

    async def tested(*_: Any) -> Any:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return await for_ever()
        finally:
            now -= 1

    monkeypatch.setattr(told, "tested", tested)
    monkeypatch.setattr(runner, "TEST", 0.5)
    desk.tests = [{"number": number} for number in range(100)]
    await until(lambda: len(desk.answers) == 100)
    assert most == 8
    assert {answer["code"] for answer in desk.answers.values()} == {"timeout"}


NUMBERS = st.integers(0, 10**30)


@given(NUMBERS, NUMBERS, st.none() | st.text(max_size=2000), st.text(max_size=9000))
def test_all_that_is_told_is_taken(some: int, size: int, folder: str | None, output: str) -> None:
    """Whatever a remote side says, the service takes the report of it."""
    output = output.encode("utf-8", "replace").decode()
    body = {
        "session": "x" * 32,
        "running": [told.running(1, Progress(some, size, folder, 1.0))],
        "ended": [told.ended(1, Outcome("ok", some, size, output))],
        "tested": [],
    }
    parse(syncrunner.Report, body)


# ---------- ends ----------


async def test_a_run_is_cancelled_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the service says that it has to stop."""
    cancelled = 0

    async def slow(*_: Any) -> Any:
        nonlocal cancelled
        with contextlib.suppress(asyncio.CancelledError):
            await for_ever()
        cancelled += 1
        seen = desk.reports
        while desk.reports < seen + 5:
            try:
                await asyncio.sleep(0.002)
            except asyncio.CancelledError:
                cancelled += 1
        raise asyncio.CancelledError

    monkeypatch.setattr(runner, "run", slow)
    desk.runs, desk.stop = [{"run": 1, "job": 1}], [1]
    await until(lambda: desk.ended)
    assert (cancelled, desk.ended[0].result) == (1, "stopped")
