"""The socket of the sync runner: `[sync] socket`, an application of its own.

    POST /work    {"session":…,"free":N,"holding":[…]}   -> {"runs":[…],"tests":[…]}
    POST /report  {"session":…,"running":[…],"ended":[…],"tested":[…]} -> {"stop":[…]}

/work is answered when there is something to do, or after `LONG` seconds; at once if N is 0. The
kernel tells who connected (SO_PEERCRED, unix(7)): root, the service's own user and `[sync] user`
are answered, for what is sent here holds the passwords of the jobs that begin.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from pydantic import Field

from ..errors import Forbidden, MailapiError
from ..models import Model, parse
from ..rules.syncruns import Ended
from ..syncdesk import Desk
from ..syncmodels import RemoteFolder
from . import answers, body, peer

LONG: Final = 10.0  # seconds
DESK: Final = web.AppKey("desk", Desk)
USER: Final = web.AppKey("user", str)
Session = Annotated[str, Field(min_length=8, max_length=64)]
Number = Annotated[int, Field(ge=0, le=10**15)]
Word = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]


class Work(Model):
    session: Session
    free: Annotated[int, Field(ge=0, le=64)]
    holding: Annotated[list[Number], Field(max_length=10_000)]


class Running(Model):
    run: Number
    messages: Number
    bytes: Number
    folder: Annotated[str, Field(max_length=1000)] | None
    share: Annotated[float, Field(ge=0, le=1, strict=False)]


class End(Model):
    run: Number
    result: Word
    messages: Number
    bytes: Number
    output: Annotated[str, Field(max_length=4000)]


class Failed(Model):
    number: Number
    code: Word
    field: Literal["host1", "port1", "enc1", "user1", "password1"]
    reason: Annotated[str, Field(max_length=500)]


class Found(Model):
    number: Number
    folders: Annotated[list[RemoteFolder], Field(max_length=10_000)]
    messages: Number
    bytes: Number | None


class Report(Model):
    session: Session
    running: Annotated[list[Running], Field(max_length=64)]
    ended: Annotated[list[End], Field(max_length=64)]
    tested: Annotated[list[Failed | Found], Field(max_length=100)]


def application(desk: Desk, user: str) -> web.Application:
    """`user` may connect besides root and the service's own."""
    app = web.Application(middlewares=[_admitted], client_max_size=8 * 1024 * 1024)
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
    asked = await _parsed(request, Work)
    seconds = LONG if asked["free"] else 0.0  # it asks again as soon as a run has ended
    runs, tests = await request.app[DESK].work(**asked, seconds=seconds)
    return web.json_response({"runs": runs, "tests": tests})


async def _report(request: web.Request) -> web.Response:
    told = await _parsed(request, Report)
    desk = request.app[DESK]
    for test in told["tested"]:
        desk.tested(test.pop("number"), test)
    ended = [Ended(**one) for one in told["ended"]]
    stop = await desk.report(told["session"], told["running"], ended)
    return web.json_response({"stop": stop})


async def _parsed(request: web.Request, model: type[Model]) -> dict[str, Any]:
    return parse(model, body.parse(await request.read(), "application/json"))
