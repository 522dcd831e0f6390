"""A sync runner that runs nothing: it asks the service for work, and reports what a test says.

async with FakeRunner(api) as runner:
    (run,) = await runner.begins()
    await runner.report(ended=[over(run)])
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable
from typing import Any, Self

import aiohttp
from restapi import Api

from mailapi import app


class FakeRunner:
    """Opens the service's socket for runners, too."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._stack = contextlib.AsyncExitStack()
        self.session = secrets.token_hex(8)

    async def __aenter__(self) -> Self:
        config = self._api.config
        await self._stack.enter_async_context(app._runner_socket(config, self._api.app))
        connector = aiohttp.UnixConnector(str(config.sync.socket))
        self._http = await self._stack.enter_async_context(
            aiohttp.ClientSession("http://runner", connector=connector)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def ask(self, path: str, **body: Any) -> tuple[int, Any]:
        """The status, and the JSON of the answer."""
        async with self._http.post(path, json={"session": self.session, **body}) as answer:
            return answer.status, await answer.json()

    async def work(self, holding: Iterable[int] = (), free: int = 8) -> dict[str, Any]:
        status, found = await self.ask("/work", free=free, holding=list(holding))
        assert status == 200, found
        return dict(found)

    async def begins(self, *holding: int) -> list[int]:
        """The runs that begin."""
        return [run["run"] for run in (await self.work(holding))["runs"]]

    async def report(
        self, running: Iterable[Any] = (), ended: Iterable[Any] = (), tested: Iterable[Any] = ()
    ) -> list[int]:
        """The runs that have to stop."""
        told = {"running": list(running), "ended": list(ended), "tested": list(tested)}
        status, found = await self.ask("/report", **told)
        assert status == 200, found
        return list(found["stop"])


def under_way(run: int, **fields: Any) -> dict[str, Any]:
    return {"run": run, "messages": 3, "bytes": 70, "folder": "INBOX", "share": 0.5} | fields


def over(run: int, result: str = "ok", **fields: Any) -> dict[str, Any]:
    return {"run": run, "result": result, "messages": 5, "bytes": 90, "output": ""} | fields
