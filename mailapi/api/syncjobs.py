"""What sync jobs have besides other objects: /run, /runs, and a look at the remote side.

`POST /syncjobs?test=1` takes what POST takes, stores nothing, and answers what is in the remote
account, or why it cannot be used, within 20 seconds.
"""

from __future__ import annotations

import json
from functools import partial

from aiohttp import web

from .. import objects, service
from ..errors import NotFound
from ..objects import RUN, SYNCJOB
from ..rules import syncjobs
from . import answers, body, reads, writes
from .context import CONTEXT, caller


async def create(request: web.Request) -> web.StreamResponse:
    """POST /syncjobs, with or without ?test=1."""
    query = writes.once(request.query.items())
    if "test" not in query or not service.flag("test", query["test"]):
        return await writes.write("syncjobs", {"test"})(request)
    raw = await writes.received(request)
    value = body.parse(raw, request.headers.get("Content-Type", ""))
    context = request.app[CONTEXT]
    caller(request).writes_something()
    found = await context.desk.test(context.changes.sync.asked(caller(request), value))
    msg = "The remote side can be used"
    return web.json_response({"type": "success", "msg": msg, "data": found})


async def run(request: web.Request) -> web.StreamResponse:
    """Start the job now; it begins as soon as the runner has room for it."""
    job = service.number(request.match_info["key"])
    await writes.received(request)
    reads.no_parameters(request)
    committed = await writes.submit(request, [partial(syncjobs.start, job_id=job)], None)
    (result,) = committed.outcome.results
    if not request.app[CONTEXT].desk.attended:
        result.detail = "No sync runner is connected; it begins when one is."
    applied, problem = await writes.settled(request, committed)
    text = answers.change_body(result, applied, problem)
    return answers.raw(text, result.status if applied else 202)


async def runs(request: web.Request) -> web.StreamResponse:
    """The job's history, newest first."""
    job = service.number(request.match_info["key"])
    reader = request.app[CONTEXT].reader
    text = await reader.run(partial(objects.one, kind=SYNCJOB, key=job))
    if text is None:
        raise NotFound
    caller(request).reads(json.loads(text)["username"].rpartition("@")[2])
    return await reads.listed(request, RUN, job)
