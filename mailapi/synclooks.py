"""Looks at the remote sides of sync jobs, for clients that wait: the runner takes and answers them.

answer = await looks.ask(fields)            # for a client
for look in looks.take(): ...               # for the runner, each with its `number`
looks.answered(number, answer)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Mapping
from typing import Any, Final

from .errors import RemoteFailed

PATIENCE: Final = 20.0  # seconds that a client waits


class Looks:
    """Their numbers begin anywhere: an answer from before a restart is nobody's."""

    def __init__(self) -> None:
        self._numbers = itertools.count(secrets.randbits(48))
        self._asked: dict[int, tuple[Mapping[str, Any], asyncio.Future[Mapping[str, Any]]]] = {}
        self._waiting: list[int] = []

    async def ask(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The remote side's folders. Raise `RemoteFailed`."""
        number = next(self._numbers)
        future: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = fields, future
        self._waiting.append(number)
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await future
        except TimeoutError:
            raise RemoteFailed.field("host1", "does not answer in time (timeout)") from None
        finally:
            del self._asked[number]
            with contextlib.suppress(ValueError):
                self._waiting.remove(number)
        if "reason" in answer:
            raise RemoteFailed.field(str(answer["field"]), f"{answer['reason']} ({answer['code']})")
        return answer

    def take(self) -> list[dict[str, Any]]:
        """Those that nobody has taken yet."""
        numbers, self._waiting = self._waiting, []
        return [{"number": number, **self._asked[number][0]} for number in numbers]

    def answered(self, number: int, answer: Mapping[str, Any]) -> None:
        """`reason`, `field` and `code` of a failure, or what is there."""
        found = self._asked.get(number)
        if found is not None and not found[1].done():
            found[1].set_result(answer)
