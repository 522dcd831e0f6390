"""GET /openapi.json: what `routes` answers, as an OpenAPI 3.1 document.

Built when it is first asked for, and kept; it depends on nothing but the version.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from aiohttp import web

from .. import __version__
from ..txn import etag
from . import answers, schemas
from .middleware import opened
from .operations import ALWAYS, JSON
from .paths import paths
from .patterns import FIELDS, Schema
from .schemas import ref

SERVER: Final = "/api/v1"
TAGS: Final = {
    "domains": "What mail is taken for, and its limits",
    "mailboxes": "Who receives mail and logs in",
    "aliases": "Addresses that lead to others",
    "syncjobs": "Mail that is fetched from elsewhere, again and again",
    "keys": "API keys: for unrestricted keys of scope admin",
    "changes": "Who changed what and when",
    "batch": "Many changes in one transaction",
    "service": "How the service is",
}
_TEXT: Final[Schema] = {"type": "string"}
_NUMBER: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 10**18}
_FLAG: Final[Schema] = {"type": "boolean"}
_OF_ERROR: Final = {401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After"}


@opened
async def openapi(request: web.Request) -> web.StreamResponse:
    body, tag = _served()
    if answers.unchanged(request, tag):
        return web.Response(status=304, headers={"ETag": tag})
    response = answers.raw(body)
    response.headers["ETag"] = tag
    return response


def document() -> dict[str, Any]:
    """The OpenAPI document, as JSON has it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mailapi",
            "version": __version__,
            "summary": "Domains, mailboxes and aliases of a Postfix and Dovecot mail server",
            "description": "Sizes are in MB of 1,048,576 bytes, times in UTC.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": SERVER}],
        "security": [{"key": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths(),
        "components": {
            "schemas": schemas.components(),
            "parameters": _parameters(),
            "headers": _headers(),
            "responses": {f"Error{code}": _error(code, of) for code, of in schemas.codes().items()},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "mapi_…",
                    "description": "An API key, from `mailapi key add` or POST /keys",
                }
            },
        },
    }


@cache
def _served() -> tuple[bytes, str]:
    """The body and its ETag."""
    text = json.dumps(document(), ensure_ascii=False, separators=(",", ":"))
    return text.encode(), etag(text)


def _error(status: int, codes: dict[str, str]) -> Schema:
    """The answer of a status: its codes, and what each says."""
    headers = [*ALWAYS, *([_OF_ERROR[status]] if status in _OF_ERROR else [])]
    return {
        "description": "\n".join(f"- `{code}`: {msg}" for code, msg in codes.items()),
        "headers": {name: ref(name, "headers") for name in headers},
        "content": {JSON: {"schema": ref(f"Error{status}")}},
    }


def _parameters() -> dict[str, Schema]:
    """The key is the name, but where one name stands for several things."""
    token = _TEXT | {"pattern": r"^[\x21-\x7e]{1,255}$", "maxLength": 255}
    number = _NUMBER | {"minimum": 1, "maximum": 10**18 - 1}
    limit = {"type": "integer", "minimum": 1, "maximum": 1000}
    wait = {"type": "integer", "minimum": 0, "maximum": 30, "default": 0}
    return {
        "domain": _path("domain", _TEXT, "example.com", "in either IDN form"),
        "email": _path("email", _TEXT, "user@example.com", "the mailbox's address"),
        "id": _path("id", number, 2, "its number"),
        "limit": _query("limit", limit, "at most so many; `Link` leads to the next"),
        "after_name": _query("after", _TEXT, "those behind this name or address"),
        "after_id": _query("after", _NUMBER, "those behind this number"),
        "of_domain": _query("domain", FIELDS["domain"], "those of this domain"),
        "active": _query("active", _FLAG, "those switched on, or off"),
        "q": _query("q", _TEXT, "those with this text in their address, name or description"),
        "cascade": _query("cascade", _FLAG | {"default": False}, "with all that it holds"),
        "test": _query("test", _FLAG | {"default": False}, "store nothing, look at the remote"),
        "generation": _query("generation", _NUMBER, "is this one live?"),
        "wait": _query("wait", wait, "seconds to wait for the generation"),
        "If-Match": _header("If-Match", _TEXT, "only if this is its `ETag`"),
        "If-None-Match": _header("If-None-Match", _TEXT, "304 if this is still the `ETag`"),
        "Idempotency-Key": _header("Idempotency-Key", token, "safe to repeat for 24 hours"),
        "Prefer": _header("Prefer", _TEXT, "`respond-async`: do not wait until it is live"),
    }


def _path(name: str, schema: Schema, example: object, text: str) -> Schema:
    return _header(name, schema, text) | {"in": "path", "required": True, "example": example}


def _query(name: str, schema: Schema, text: str) -> Schema:
    return _header(name, schema, text) | {"in": "query"}


def _header(name: str, schema: Schema, text: str) -> Schema:
    return {"name": name, "in": "header", "description": text, "schema": schema}


def _headers() -> dict[str, Schema]:
    always = {
        "X-Request-Id": ("what the log and the change log call this request", _TEXT),
        "X-RateLimit-Limit": ("requests in a period; 0 = no limit", _NUMBER),
        "X-RateLimit-Remaining": ("requests left in this one", _NUMBER),
        "X-RateLimit-Reset": ("Unix time of its end", _NUMBER),
        "X-Total-Count": ("objects behind all pages", _NUMBER),
        "ETag": ("the version, for If-Match and If-None-Match", _TEXT),
        "Location": ("where the object is", _TEXT),
        "Retry-After": ("seconds to wait", _NUMBER),
        "WWW-Authenticate": ("Bearer", _TEXT),
    }
    sometimes = {
        "Link": ('`<…>; rel="next"`, where there are more', _TEXT),
        "Allow": ("the methods that are allowed", _TEXT),
        "Preference-Applied": ("respond-async, where it was asked for", _TEXT),
    }
    return {
        name: {"description": text, "schema": schema, **required}
        for headers, required in ((always, {"required": True}), (sometimes, {}))
        for name, (text, schema) in headers.items()
    }
