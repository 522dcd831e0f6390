"""How the OpenAPI document describes an operation: what it takes and what it may answer.

The errors and headers that every request may meet are added here.
"""

from __future__ import annotations

from typing import Final

from .examples import EXAMPLES
from .patterns import Schema
from .schemas import ref

JSON: Final = "application/json"
ALWAYS: Final = ("X-Request-Id", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_EVERY: Final = (400, 406, 429, 500)  # 400: what is no HTTP is told so on any path
_CLOSED: Final = (401, 403)
_PHRASES: Final = {
    200: "Done",
    201: "Added, and live",
    202: "Stored, but not live yet; `detail` says why, unless `Prefer` asked not to wait",
    304: "Unchanged since `If-None-Match`",
    503: "Publishing fails, and is tried again",
}


def operation(
    name: str,
    summary: str,
    tag: str,
    answers: dict[int, Schema],
    *,
    parameters: tuple[str, ...] = (),
    headers: tuple[str, ...] = (),
    errors: tuple[int, ...] = (),
    closed: bool = True,
    media: str = JSON,
) -> Schema:
    """An operation object. `answers`: status -> schema of the good ones, which have `headers`."""
    responses = {
        str(status): response(status, schema, headers, media) for status, schema in answers.items()
    }
    if "If-None-Match" in parameters:
        responses["304"] = response(304, None, tuple(h for h in headers if h != "Link"))
    for status in sorted({*_EVERY, *errors, *(_CLOSED if closed else ())}):
        responses.setdefault(str(status), ref(f"Error{status}", "responses"))
    return {
        "operationId": name,
        "summary": summary,
        "tags": [tag],
        **({"parameters": [ref(p, "parameters") for p in parameters]} if parameters else {}),
        "responses": responses,
        **({} if closed else {"security": []}),
    }


def response(
    status: int, schema: Schema | None, headers: tuple[str, ...] = (), media: str = JSON
) -> Schema:
    """The answer of a status; those of 202 may tell that a preference was followed."""
    more = ("Preference-Applied",) if status == 202 else ()
    found: Schema = {
        "description": _PHRASES.get(status, "Refused: the request, or one of its changes"),
        "headers": {name: ref(name, "headers") for name in (*ALWAYS, *headers, *more)},
    }
    return found if schema is None else found | {"content": {media: {"schema": schema}}}


def takes(schema: Schema, example: str) -> Schema:
    """The request body of an operation."""
    content = {JSON: {"schema": schema, "example": EXAMPLES[example]}}
    return {"requestBody": {"required": True, "content": content}}
