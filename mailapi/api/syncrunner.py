"""The socket of the sync runner: `[sync] socket`, an application of its own.

    POST /work    {"session":…,"free":N,"holding":[…]}   -> {"runs":[…],"tests":[…]}
    POST /report  {"session":…,"running":[…],"ended":[…],"tested":[…]} -> {"stop":[…]}

/work is answered when there is something to do, or after `LONG` seconds; at once if N is 0; a
second runner with 409. What stands in a report is judged one by one (`syncreports`). The kernel
tells who connected (SO_PEERCRED, unix(7)): root, the service's own user and `[sync] user` are
answered, for what is sent here holds the passwords of the jobs that begin.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import Field

from .. import syncreports
from ..errors import Forbidden, MailapiError
from ..models import Model, parse
from ..syncdesk import Desk, Runner
from ..syncreports import Number
from . import answers, body, peer

LONG: Final = 10.0  # seconds
MOST: Final = 32 * 1024 * 1024  # octets of a report
DESK: Final = web.AppKey("desk", Desk)
USER: Final = web.AppKey("user", str)
Session = Annotated[str, Field(min_length=8, max_length=64)]


class Work(Model):
    session: Session
    free: Annotated[int, Field(ge=0, le=64)]
    holding: Annotated[list[Number], Field(max_length=10_000)]


class Report(Model):
    session: Session
    running: list[Any]
    ended: list[Any]
    tested: list[Any]


def application(desk: Desk, user: str) -> web.Application:
    """`user` may connect besides root and the service's own."""
    app = web.Application(middlewares=[_admitted], client_max_size=MOST)
    app[DESK], app[USER] = desk, user
    app.router.add_post("/work", _work)
    app.router.add_post("/report", _report)
    return app


@web.middleware
async def _admitted(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        if request.transport is None or not _known(peer.user(request.transport), request.app[USER]):
            raise Forbidden("This socket is for the sync runner only.")
        return await handler(request)
    except MailapiError as error:
        return answers.error(error)


def _known(uid: int, user: str) -> bool:
    if uid in (0, os.geteuid()):
        return True
    if user.isdecimal():
        return uid == int(user)
    try:
        return uid == pwd.getpwnam(user).pw_uid
    except KeyError:
        return False


async def _work(request: web.Request) -> web.Response:
    asked = parse(Work, body.parse(await request.read(), "application/json"))
    seconds = LONG if asked["free"] else 0.0  # it asks again as soon as a run has ended
    runner = _runner(request, asked.pop("session"))
    runs, tests = await request.app[DESK].work(runner, **asked, seconds=seconds)
    return web.json_response({"runs": runs, "tests": tests})


async def _report(request: web.Request) -> web.Response:
    told = parse(Report, syncreports.value(await request.read()))
    stop = await request.app[DESK].report(
        _runner(request, told["session"]),
        syncreports.running(told["running"]),
        syncreports.ended(told["ended"]),
        syncreports.tested(told["tested"]),
    )
    return web.json_response({"stop": stop})


def _runner(request: web.Request, session: str) -> Runner:
    return Runner(session, 0 if request.transport is None else peer.process(request.transport))
