"""POST, PUT and DELETE: a body becomes a rule, the writer takes it, the answer says if it is live.

`Prefer: respond-async` (RFC 7240) is answered as soon as the change is durable. `Idempotency-Key`
makes a POST safe to repeat for a day: its fingerprint is keyed with the caller's API key, which is
stored nowhere, because a request may hold a password. (For local administrators, who need no key,
with a secret of this process.)
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections.abc import Iterable, Set
from typing import Final

from aiohttp import web
from yarl import URL

from .. import service
from ..apply import Committed
from ..batch import Idempotency, Job
from ..errors import Invalid, Malformed, NotLive, TooSlow
from ..txn import Rule, etag
from . import answers, body
from .context import CONTEXT, VISIT, caller
from .middleware import Handler

BODY_LIMIT: Final = 15.0  # seconds for a body to arrive; see `connections`
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_LOCAL_SECRET: Final = secrets.token_bytes(32)
_ASYNC: Final = re.compile(r"(?:^|,)[ \t]*respond-async[ \t]*(?:[,;]|$)", re.IGNORECASE)


def write(resource: str, known: Set[str] = frozenset()) -> Handler:
    """The handler of POST, PUT and DELETE of the resource; `known` are parameters of others."""

    async def handler(request: web.Request) -> web.StreamResponse:
        value, idempotency = await _received(request)
        rule = await request.app[CONTEXT].changes.plan(
            request.method,
            resource,
            service.Request(
                caller(request),
                request.match_info.get("key", ""),
                value,
                {n: v for n, v in once(request.query.items()).items() if n not in known},
                request.headers.get("If-Match"),
            ),
        )
        committed = await submit(request, [rule], idempotency)
        return await _answer(request, committed)

    return handler


def once(query: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The parameters of a query. Raise `Invalid` if one is given twice: it has no one meaning."""
    given = list(query)
    if len(dict(given)) != len(given):
        raise Invalid.field("query", "must not give a parameter twice")
    return dict(given)


async def received(request: web.Request) -> bytes:
    """The body. Raise `TooSlow`, or `Malformed` where its chunks or its compression are broken."""
    try:
        async with asyncio.timeout(BODY_LIMIT):
            return await request.read()
    except TimeoutError:
        raise TooSlow from None
    except web.RequestPayloadError:
        raise Malformed("The request body ends early, or is not coded as its head says.") from None


async def submit(
    request: web.Request, rules: list[Rule], idempotency: Idempotency | None
) -> Committed:
    """Give the writer the rules of one request."""
    context = request.app[CONTEXT]
    job = Job(rules, caller(request), request[VISIT].request_id, idempotency)
    committed = await context.writer.submit(job)
    if committed.outcome.keys_changed:
        context.keys.forget()
    return committed


async def _received(request: web.Request) -> tuple[object, Idempotency | None]:
    """The value of the body and the Idempotency-Key; neither is asked of DELETE."""
    raw = await received(request)
    if request.method == "DELETE":
        return None, None
    value = body.parse(raw, request.headers.get("Content-Type", ""))
    return value, idempotency_of(request, raw)


def idempotency_of(request: web.Request, raw: bytes) -> Idempotency | None:
    """Raise `Invalid` for a key that is none."""
    key = request.headers.get("Idempotency-Key")
    if key is None or request.method != "POST":
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise Invalid("Idempotency-Key must be 1 to 255 printable ASCII characters without blanks.")
    authorization = request.headers.get("Authorization")
    secret = authorization.encode("utf-8", "surrogateescape") if authorization else _LOCAL_SECRET
    text = request.path_qs.encode() + b"\n" + raw
    return Idempotency(key, hmac.digest(secret, text, "sha256"))


async def settled(request: web.Request, committed: Committed) -> tuple[bool, NotLive | None]:
    """Whether the change is live, and why not; False without a reason for who does not wait."""
    if _ASYNC.search(request.headers.get("Prefer", "")):
        return False, None
    problem = await committed.live()
    return problem is None, problem


async def _answer(request: web.Request, committed: Committed) -> web.Response:
    applied, problem = await settled(request, committed)
    (result,) = committed.outcome.results
    status = result.status if applied else 202
    response = answers.raw(answers.change_body(result, applied, problem), status)
    if result.status == 201:
        response.headers["Location"] = str(URL(request.path) / str(result.id))
    if result.data is not None:
        response.headers["ETag"] = etag(result.data)
    if not applied and problem is None:
        response.headers["Preference-Applied"] = "respond-async"
    return response
