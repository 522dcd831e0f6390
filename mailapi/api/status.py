"""How the service is: /healthz, /readyz, /status, /metrics; and POST /apply.

`healthz`: the process answers. `readyz`: all that is stored is live or on its way; 503 while
publishing fails. `status?generation=N&wait=SECONDS` answers once generation N is live, or when the
time is up.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any, Final

from aiohttp import web

from .. import __version__, metrics
from ..errors import Forbidden, Invalid
from ..txn import Result
from . import answers, writes
from .client import LOCAL
from .context import CONTEXT, VISIT, caller
from .middleware import opened

LONGEST: Final = 30  # seconds


@opened
async def healthz(request: web.Request) -> web.StreamResponse:
    return web.json_response({"status": "ok"})


@opened
async def readyz(request: web.Request) -> web.StreamResponse:
    rounds = request.app[CONTEXT].writer.rounds
    ready = rounds.failure is None
    body = {"status": "ok" if ready else "not live", "applied": _applied(request)}
    return web.json_response(body, status=200 if ready else 503)


async def status(request: web.Request) -> web.StreamResponse:
    """The generations; why they differ stands there for keys that cover everything."""
    writer = request.app[CONTEXT].writer
    generation, seconds = _asked(request)
    if generation is not None:
        await writer.rounds.until(min(generation, writer.rounds.generation + 1), seconds)
    rounds = writer.rounds
    body: dict[str, Any] = {
        "version": __version__,
        "generation": rounds.generation,
        "applied_generation": rounds.applied_generation,
        "applied": _applied(request, generation),
    }
    if rounds.failure is not None and caller(request).unrestricted:
        body["problem"] = {"code": rounds.failure.code, "msg": rounds.failure.msg}
    return web.json_response(body)


async def apply(request: web.Request) -> web.StreamResponse:
    """Render, publish and reload everything again."""
    caller(request).writes()
    committed = await request.app[CONTEXT].writer.apply()
    applied, problem = await writes.settled(request, committed)
    result = Result("Everything has been applied" if applied else "Everything is being applied", "")
    result.generation = committed.outcome.generation
    body = json.loads(answers.change_body(result, applied, problem))
    del body["id"]
    response = web.json_response(body, status=200 if applied else 202)
    if not applied and problem is None:
        response.headers["Preference-Applied"] = "respond-async"
    return response


@opened
async def prometheus(request: web.Request) -> web.StreamResponse:
    """Open on loopback only; a proxy's clients are not there."""
    address = request[VISIT].address
    if address != LOCAL and not ipaddress.ip_address(address).is_loopback:
        raise Forbidden("/metrics is open to this host only.")
    body = request.app[CONTEXT].metrics.text()
    return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})


def _applied(request: web.Request, generation: int | None = None) -> bool:
    rounds = request.app[CONTEXT].writer.rounds
    return rounds.applied_generation >= (rounds.generation if generation is None else generation)


def _asked(request: web.Request) -> tuple[int | None, int]:
    """The query's generation and seconds. Raise `Invalid`."""
    given = request.query
    for name in given:
        if name not in ("generation", "wait"):
            raise Invalid.field("query", "may hold generation and wait, nothing else")
    generation = (
        _number(given["generation"], "generation", 10**18) if "generation" in given else None
    )
    return generation, _number(given.get("wait", "0"), "wait", LONGEST)


def _number(text: str, name: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
        raise Invalid.field(name, f"must be a whole number from 0 to {most}")
    return int(text)
