"""The runner's loop: ask for work, run it, report.

    await Runner(socket, max_parallel, place, rules).serve()    # until it is cancelled

Two requests are under way: /work, which the service answers when there is something to do, and
/report, once a second while anything runs and at once when something has ended. What has ended is
reported until the service has taken it. Tests do not wait for runs. Without the service, runs go
on; when this process ends, they are stopped, and the next one continues them.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import secrets
from typing import Any, Final

import aiohttp
import structlog

from ..errors import AlreadyRunning, RunnerBusy
from . import told
from .engine import Outcome, Place, Progress, run
from .faults import SyncFault
from .remote import Rules

REPORT: Final = 1.0  # seconds
PAUSE: Final = 1.0  # seconds until the service is asked again that did not answer
FULL: Final = 0.5  # seconds between two questions for tests while all runs are taken
LATE: Final = 60.0  # seconds without an answer to /work, which takes ten at most
TEST: Final = 18.0  # seconds, its wait for others included; a client waits for twenty
TESTS: Final = 8  # at once
REFUSED: Final = (400, 413)  # the service does not take what it was sent, and never will
_log = structlog.get_logger("mailapi.runner")


class Runner:
    """`rules` and `place` are for all jobs; `socket` is the service's."""

    def __init__(self, socket: str, most: int, place: Place, rules: Rules) -> None:
        self._socket, self._most, self._place, self._rules = socket, most, place, rules
        self._session = secrets.token_hex(16)
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._stopped: set[int] = set()
        self._progress: dict[int, Progress] = {}
        self._ended: list[dict[str, Any]] = []
        self._tested: list[dict[str, Any]] = []
        self._tests: set[asyncio.Task[None]] = set()
        self._few = asyncio.Semaphore(TESTS)
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._reachable = True

    async def serve(self) -> None:
        """Until it is cancelled; runs under way are stopped and reported then.

        Raise `AlreadyRunning` where the service has another runner.
        """
        connector = aiohttp.UnixConnector(self._socket)
        timeout = aiohttp.ClientTimeout(total=LATE)
        async with aiohttp.ClientSession(
            "http://runner", connector=connector, timeout=timeout
        ) as http:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._working(http))
                    group.create_task(self._reporting(http))
            except ExceptionGroup as both:
                if both.subgroup(AlreadyRunning) is None:
                    raise
                raise AlreadyRunning(RunnerBusy.default) from None
            finally:
                await self._end()
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(5):
                        await self._report(http)

    @property
    def _free(self) -> int:
        """A run takes room until the service knows of its end."""
        return max(0, self._most - len(self._runs) - len(self._ended))

    async def _working(self, http: aiohttp.ClientSession) -> None:
        while True:
            if self._free == 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FULL):
                        await self._room.wait()
            self._room.clear()
            free = self._free
            holding = [*self._runs, *(one["run"] for one in self._ended)]
            body = {"session": self._session, "free": free, "holding": holding}
            status, found = await self._ask(http, "/work", body)
            if status != 200:
                await asyncio.sleep(PAUSE)
                continue
            for job in found["runs"]:
                self._runs[job["run"]] = asyncio.create_task(self._run(job))
            for test in found["tests"]:
                task = asyncio.create_task(self._test(test))
                self._tests.add(task)
                task.add_done_callback(self._tests.discard)

    async def _reporting(self, http: aiohttp.ClientSession) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORT):
                    await self._news.wait()
            self._news.clear()
            if not (await self._report(http) and await self._answer(http)):
                await asyncio.sleep(PAUSE)
                self._news.set()

    async def _report(self, http: aiohttp.ClientSession) -> bool:
        """Whether the service has taken it; runs that it wants stopped are, each once."""
        ended = self._ended[:64]
        running = [told.running(n, p) for n, p in self._progress.items() if n in self._runs]
        if not (running or ended):
            return True
        body = {"session": self._session, "running": running, "ended": ended, "tested": []}
        status, found = await self._ask(http, "/report", body)
        if status != 200:
            return False
        del self._ended[: len(ended)]
        self._room.set()
        for number in set(found["stop"]) & self._runs.keys() - self._stopped:
            self._stopped.add(number)
            self._runs[number].cancel()
        return True

    async def _answer(self, http: aiohttp.ClientSession) -> bool:
        """Whether the service has taken what the tests found; one that it refuses has failed."""
        while self._tested:
            one = self._tested[0]
            body = {"session": self._session, "running": [], "ended": [], "tested": [one]}
            status, _ = await self._ask(http, "/report", body)
            if status not in (200, *REFUSED):
                return False
            del self._tested[0]
            if status != 200 and "code" not in one:
                self._tested.append(told.failed(one["number"], SyncFault("internal")))
        return True

    async def _run(self, job: dict[str, Any]) -> None:
        number = job["run"]

        def note(progress: Progress) -> None:
            self._progress[number] = progress

        note(Progress(0, 0, None, 0.0))
        outcome = Outcome("stopped", 0, 0, "It was stopped.")
        try:
            outcome = await run(job, self._place, self._rules, note)
        except asyncio.CancelledError:
            seen = self._progress[number]
            outcome = Outcome("stopped", seen.messages, seen.bytes, "It was stopped.")
        except Exception:
            _log.exception("a run failed", run=number, job=job["job"])
            outcome = Outcome("internal", 0, 0, "The runner failed; its log has the details.")
        finally:
            del self._runs[number], self._progress[number]
            self._stopped.discard(number)
            self._ended.append(told.ended(number, outcome))
            self._news.set()
            _log.info("run ended", job=job["job"], run=number, result=outcome.result)

    async def _test(self, test: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(TEST), self._few:
                answer = await told.tested(test, self._rules)
        except TimeoutError:
            answer = told.failed(test["number"], SyncFault("timeout"))
        self._tested.append(answer)
        self._news.set()

    async def _end(self) -> None:
        tasks = [*self._runs.values(), *self._tests]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, http: aiohttp.ClientSession, path: str, body: Any) -> tuple[int, Any]:
        """Status and JSON; the status is 0 where there is none. What fails is logged once."""
        try:
            async with http.post(path, data=io.BytesIO(json.dumps(body).encode())) as response:
                if response.status == 200:
                    self._reachable = True
                    return 200, await response.json()
                if response.status == 409:
                    raise AlreadyRunning
                status, cause = response.status, f"status {response.status}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            status, cause = 0, type(error).__name__
        if self._reachable:
            _log.warning("the service does not answer", cause=cause)
        self._reachable = False
        return status, None
