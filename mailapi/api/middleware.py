"""What every request passes: its number, the key, the limit, errors into JSON, the log.

Default-deny: a route is closed unless its handler is marked with `opened`; that holds for routes
that do not exist, too. Every answer carries X-Request-Id and the X-RateLimit headers. Whatever a
handler raises becomes an answer here, in one place.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
from aiohttp import web

from ..errors import (
    MailapiError,
    Malformed,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthorized,
)
from . import answers
from .client import client_address
from .context import CONTEXT, VISIT, Context, Visit
from .peer import local_caller
from .ratelimit import Window

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
H = TypeVar("H", bound=Handler)

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
ACCEPTED: Final = ("*/*", "application/*", "application/json", "text/")  # text: /metrics, pages
GONE: Final = 499  # nginx's number for it
_OPEN: Final = "__mailapi_open__"
_SHAPE: Final = "__mailapi_errors__"
_log = structlog.get_logger("mailapi.http")


def opened(handler: H) -> H:
    """Mark a handler: it needs no key."""
    setattr(handler, _OPEN, True)
    return handler


def failing(shape: Callable[[Exception], web.StreamResponse]) -> Callable[[H], H]:
    """Mark a handler: its errors are answered in this shape instead of JSON."""

    def mark(handler: H) -> H:
        setattr(handler, _SHAPE, shape)
        return handler

    return mark


def is_open(handler: object) -> bool:
    return getattr(handler, _OPEN, False)


@web.middleware
async def outermost(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Number, limit, key, handler; whatever comes of it is an answer, a log line and a count."""
    begin = time.perf_counter()
    context = request.app[CONTEXT]
    forwarded = request.headers.getall("X-Forwarded-For", [])
    address = client_address(request.remote or "", forwarded, context.trusted_proxies)
    visit = request[VISIT] = Visit(secrets.token_hex(8), address)
    with structlog.contextvars.bound_contextvars(request_id=visit.request_id):
        try:
            response = await _admitted(context, request, handler, visit)
        except web.HTTPException as error:
            response = _translated(error)
        except ConnectionResetError:  # the client has gone; this is for the log
            response = web.Response(status=GONE)
        except Exception as error:
            response = _failed(error, getattr(handler, _SHAPE, answers.error))
        if not response.prepared:
            _head(response, visit)
        _note(context, request, response.status, time.perf_counter() - begin, visit)
    return response


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: a stream is under way before the middleware sees it.

    A refused `Expect` is answered before, too, without a visit.
    """
    _head(response, request.get(VISIT) or Visit(secrets.token_hex(8), ""))


async def _admitted(
    context: Context, request: web.Request, handler: Handler, visit: Visit
) -> web.StreamResponse:
    """Count the request for its key or address, let in who may enter, and answer."""
    refused: MailapiError | None = None
    authorization = request.headers.get("Authorization")
    if authorization is not None or not is_open(handler):
        try:
            if authorization is None:
                visit.caller = local_caller(request, context.admin_socket)
            if visit.caller is None:
                visit.caller = await context.keys.caller(authorization, visit.address)
        except MailapiError as error:
            refused = error
    visit.window = context.limit.hit(visit.caller.id if visit.caller else visit.address)
    if visit.window is not None and not visit.window.allowed:
        raise RateLimited(retry_after=max(1, visit.window.reset - int(time.time())))
    if refused is not None and not is_open(handler):
        _count_failure(context, visit, authorization, refused)
        raise refused
    _check_accept(request)
    return await handler(request)


def _count_failure(
    context: Context, visit: Visit, authorization: str | None, refused: MailapiError
) -> None:
    """A wrong key counts; too many from one address, and it is not told 401 any more."""
    if isinstance(refused, Unauthorized) and authorization is not None:
        if (seconds := context.limit.auth_blocked(visit.address)) is not None:
            raise RateLimited(
                "Too many wrong API keys from this address; wait as long as Retry-After says.",
                retry_after=seconds,
            )
        context.limit.auth_failure(visit.address)


def _check_accept(request: web.Request) -> None:
    accept = ",".join(request.headers.getall("Accept", [])).lower()
    if accept and not any(kind in accept for kind in ACCEPTED):
        raise NotAcceptable


def _translated(error: web.HTTPException) -> web.StreamResponse:
    """aiohttp's own answers in our shape."""
    kinds: dict[int, type[MailapiError]] = {
        400: Malformed,
        404: NotFound,
        405: MethodNotAllowed,
        413: TooLarge,
    }
    kind = kinds.get(error.status)
    if kind is None:
        return error if error.status < 400 else answers.error(MailapiError())
    msg = "There is no such route; see /api/v1/openapi.json." if kind is NotFound else None
    response = answers.error(kind(msg))
    if isinstance(error, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
    return response


def _failed(
    error: Exception, shape: Callable[[Exception], web.StreamResponse]
) -> web.StreamResponse:
    if answers.status_of(error) == 500:
        _log.exception("a fault of ours", exc_info=error)
    return shape(error)


def _head(response: web.StreamResponse, visit: Visit) -> None:
    headers = response.headers
    headers["X-Request-Id"] = visit.request_id
    headers.setdefault("Cache-Control", "no-store")
    headers["X-Content-Type-Options"] = "nosniff"
    window = visit.window or Window(0, 0, int(time.time()), True)
    headers["X-RateLimit-Limit"] = str(window.limit)
    headers["X-RateLimit-Remaining"] = str(window.remaining)
    headers["X-RateLimit-Reset"] = str(window.reset)


def _note(
    context: Context, request: web.Request, status: int, seconds: float, visit: Visit
) -> None:
    method = request.method if request.method in METHODS else "other"
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "none"
    context.metrics.count(method, route, status, seconds)
    log = _log.debug if method in ("GET", "HEAD") and status < 400 else _log.info
    who = visit.caller.id if visit.caller else None
    log(
        "request",
        method=method,
        route=route,
        status=status,
        ms=round(seconds * 1000, 1),
        client=visit.address,
        who=who,
    )
