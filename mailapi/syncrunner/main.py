"""The runner's loop: ask for work, run it, report; until SIGTERM or SIGINT.

    await serve(config)

Two requests are under way: /work, which the service answers when there is something to do, and
/report, once a second while anything runs and at once when something has ended. What has ended is
reported until the service has taken it. Without the service, runs go on; when this process ends,
they are stopped, and the next one continues them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import ssl
from dataclasses import asdict
from typing import Any, Final

import aiohttp
import structlog

from .. import notify
from ..config import Config
from ..errors import ConfigError
from .engine import Outcome, Place, Progress, run
from .faults import SyncFault, explained
from .remote import Rules, logged_in

REPORT: Final = 1.0  # seconds
PAUSE: Final = 1.0  # seconds until the service is asked again that did not answer
LATE: Final = 60.0  # seconds without an answer to /work, which takes ten at most
TEST: Final = 18.0  # seconds
_log = structlog.get_logger("mailapi.runner")


class Runner:
    """`rules` and `place` are for all jobs; `socket` is the service's."""

    def __init__(self, socket: str, most: int, place: Place, rules: Rules) -> None:
        self._socket, self._most, self._place, self._rules = socket, most, place, rules
        self._session = secrets.token_hex(16)
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._progress: dict[int, Progress] = {}
        self._ended: list[dict[str, Any]] = []
        self._tested: list[dict[str, Any]] = []
        self._tests: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._reachable = True

    async def serve(self) -> None:
        """Until it is cancelled; runs under way are stopped and reported then."""
        connector = aiohttp.UnixConnector(self._socket)
        timeout = aiohttp.ClientTimeout(total=LATE)
        async with aiohttp.ClientSession(
            "http://runner", connector=connector, timeout=timeout
        ) as http:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._working(http))
                    group.create_task(self._reporting(http))
            finally:
                await self._stop()
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(5):
                        await self._report(http)

    async def _working(self, http: aiohttp.ClientSession) -> None:
        while True:
            free = self._most - len(self._runs)
            if free <= 0:
                await asyncio.wait(self._runs.values(), return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(0)
                continue
            holding = [*self._runs, *(one["run"] for one in self._ended)]
            body = {"session": self._session, "free": free, "holding": holding}
            found = await self._ask(http, "/work", body)
            if found is None:
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
            if (self._runs or self._ended or self._tested) and not await self._report(http):
                await asyncio.sleep(PAUSE)
                self._news.set()

    async def _report(self, http: aiohttp.ClientSession) -> bool:
        """Whether the service has taken it; runs that it wants stopped are."""
        ended, tested = self._ended[:64], self._tested[:100]
        running = [{"run": n, **asdict(p)} for n, p in self._progress.items() if n in self._runs]
        body = {"session": self._session, "running": running, "ended": ended, "tested": tested}
        found = await self._ask(http, "/report", body)
        if found is None:
            return False
        del self._ended[: len(ended)], self._tested[: len(tested)]
        for number in found["stop"]:
            if (task := self._runs.get(number)) is not None:
                task.cancel()
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
            self._ended.append({"run": number, **asdict(outcome)})
            self._news.set()
            _log.info("run ended", job=job["job"], run=number, result=outcome.result)

    async def _test(self, test: dict[str, Any]) -> None:
        answer: dict[str, Any]
        try:
            with explained():
                async with asyncio.timeout(TEST), logged_in(test, self._rules) as remote:
                    found = await remote.folders(test["exclude"])
            sizes = [folder.bytes for folder in found]
            folders = [
                {"name": f.name, "messages": f.messages, "bytes": f.bytes, "excluded": f.excluded}
                for f in found
            ]
            total = None if None in sizes else sum(filter(None, sizes))
            messages = sum(folder.messages for folder in found)
            answer = {"folders": folders, "messages": messages, "bytes": total}
        except SyncFault as fault:
            answer = {"code": fault.code, "field": fault.field, "reason": fault.reason}
        self._tested.append({"number": test["number"], **answer})
        self._news.set()

    async def _stop(self) -> None:
        for task in [*self._runs.values(), *self._tests]:
            task.cancel()
        await asyncio.gather(*self._runs.values(), *self._tests, return_exceptions=True)

    async def _ask(self, http: aiohttp.ClientSession, path: str, body: Any) -> Any:
        """The JSON of an answer; None if there is none, which is logged once."""
        try:
            async with http.post(path, json=body) as response:
                if response.status == 200:
                    self._reachable = True
                    return await response.json()
                cause = f"status {response.status}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            cause = type(error).__name__
        if self._reachable:
            _log.warning("the service does not answer", cause=cause)
        self._reachable = False
        return None


async def serve(config: Config) -> None:
    """Run sync jobs until SIGTERM or SIGINT. Raise `ConfigError`."""
    sync = config.sync
    if sync.socket is None:
        raise ConfigError("[sync] socket is not set; name the socket for service and runner.")
    rules = Rules(sync.allow_private_hosts, sync.allow_plaintext, ssl.create_default_context())
    place = Place(config.dovecot.mail_home, sync.dovecot, sync.time_limit)
    runner = Runner(str(sync.socket), sync.max_parallel, place, rules)
    task = asyncio.create_task(runner.serve())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    _log.info("running", pid=os.getpid())
    async with notify.ready(lambda: not task.done()):
        with contextlib.suppress(asyncio.CancelledError):
            await task
