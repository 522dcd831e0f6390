"""Answers: JSON of objects, changes and errors, and the one table of HTTP statuses.

An error's body is `{"type":"error","msg":…,"code":…}`, with `errors` where fields are at fault. It
holds what the exception says and nothing of the request.
"""

from __future__ import annotations

import json
from typing import Any, Final

from aiohttp import web

from .. import errors
from ..errors import MailapiError, NotLive
from ..txn import Result

STATUS: Final[dict[type[MailapiError], int]] = {  # the nearest class of an exception counts
    errors.Malformed: 400,
    errors.Invalid: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.NotAcceptable: 406,
    errors.TooSlow: 408,
    errors.Exists: 409,
    errors.NotEmpty: 409,
    errors.RunnerBusy: 409,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.IdempotencyMismatch: 422,
    errors.RateLimited: 429,
    errors.Busy: 503,
    errors.NoRunner: 503,
    errors.NoSecrets: 503,
    errors.ShuttingDown: 503,
    errors.DiskFull: 507,
}
NEXT: Final = "It is stored, and will be tried again until it works."


def status_of(error: Exception) -> int:
    """The HTTP status of an exception; 500 for a fault of ours."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def error_body(error: Exception) -> dict[str, Any]:
    """The JSON of an exception; of one that is not ours, nothing but that it happened."""
    known = error if isinstance(error, MailapiError) and status_of(error) != 500 else MailapiError()
    body: dict[str, Any] = {"type": "error", "msg": known.msg, "code": known.code}
    if known.fields:
        body["errors"] = [{"field": item.field, "msg": item.msg} for item in known.fields]
    return body


def error(exception: Exception) -> web.Response:
    """The answer to an exception, with the headers that belong to it."""
    response = web.json_response(error_body(exception), status=status_of(exception))
    if isinstance(exception, errors.Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(exception, MailapiError) and exception.retry_after is not None:
        response.headers["Retry-After"] = str(exception.retry_after)
    return response


def change_body(result: Result, applied: bool, problem: NotLive | None = None) -> str:
    """The JSON of a change that was stored; `problem` is why it is not live."""
    body: dict[str, Any] = {
        "type": "success",
        "msg": result.msg,
        "id": result.id,
        "generation": result.generation,
        "applied": applied,
    }
    details = [result.detail, f"{problem.msg} {NEXT}" if problem else None]
    if detail := " ".join(filter(None, details)):
        body["detail"] = detail
    if result.secret is not None:
        body["key"] = result.secret
    text = json.dumps(body, ensure_ascii=False)
    return text if result.data is None else f'{text[:-1]}, "data": {result.data}}}'


def raw(text: str | bytes, status: int = 200) -> web.Response:
    """An answer of JSON text."""
    body = text.encode() if isinstance(text, str) else text
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")


def unchanged(request: web.Request, tag: str) -> bool:
    """Whether the client has this version already (If-None-Match, RFC 9110 section 13.1.2)."""
    given = request.headers.get("If-None-Match", "")
    return given.strip() == "*" or tag.removeprefix("W/") in {
        part.strip().removeprefix("W/") for part in given.split(",")
    }
