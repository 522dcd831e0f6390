"""GET: one object, or many as a stream of pages.

A list is read page by page, each page a short query of its own, and written as it is read: what a
list of a hundred thousand needs is one page of memory. Its ETag is weak and made of the last line
of the change log, for every change of any object adds one. Unknown parameters are refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from aiohttp import web

from .. import addresses, objects
from ..caller import Caller
from ..errors import Invalid, NotFound
from ..objects import Kind, Query
from ..service import flag, key_of
from ..txn import etag
from . import answers
from .context import CONTEXT, caller
from .middleware import Handler

PAGE: Final = 1000
KINDS: Final = {
    "domains": objects.DOMAIN,
    "mailboxes": objects.MAILBOX,
    "aliases": objects.ALIAS,
    "syncjobs": objects.SYNCJOB,
    "keys": objects.KEY,
    "changes": objects.CHANGE,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A list as a client asks for it: which objects, behind which key, how many at most."""

    query: Query
    after: str | int | None
    limit: int | None


def one(resource: str) -> Handler:
    """The handler of GET for one object of the resource."""
    kind = KINDS[resource]

    async def handler(request: web.Request) -> web.StreamResponse:
        key = key_of(resource, request.match_info["key"])
        no_parameters(request)
        if kind is objects.KEY:
            caller(request).administers()
        elif kind not in (objects.ALIAS, objects.SYNCJOB):
            caller(request).reads(str(key).rpartition("@")[2])
        text = await request.app[CONTEXT].reader.run(partial(objects.one, kind=kind, key=key))
        if text is None:
            raise NotFound
        if kind is objects.ALIAS:
            caller(request).reads(json.loads(text)["domain"])
        if kind is objects.SYNCJOB:
            caller(request).reads(json.loads(text)["username"].rpartition("@")[2])
        return _tagged(request, text)

    return handler


def many(resource: str) -> Handler:
    """The handler of GET for the list of the resource."""
    kind = KINDS[resource]

    async def handler(request: web.Request) -> web.StreamResponse:
        who = caller(request)
        if kind is objects.KEY:
            who.administers()
        elif kind is objects.CHANGE:
            who.reads()
        return await _list(request, kind, _wanted(request, kind, who))

    return handler


async def listed(request: web.Request, kind: Kind, job: int) -> web.StreamResponse:
    """The list of what belongs to a sync job, whoever may see that."""
    wanted = _wanted(request, kind, caller(request))
    query = replace(wanted.query, only=None, job=job)
    return await _list(request, kind, replace(wanted, query=query))


async def _list(request: web.Request, kind: Kind, wanted: Wanted) -> web.StreamResponse:
    reader = request.app[CONTEXT].reader
    most = min(wanted.limit or PAGE, PAGE)
    total, version, rows = await reader.run(
        lambda db: (
            objects.count(db, kind, wanted.query),
            objects.version(db),
            objects.page(db, kind, wanted.query, wanted.after, most),
        )
    )
    tag = _list_tag(request, version)
    headers = {"X-Total-Count": str(total), "ETag": tag}
    if answers.unchanged(request, tag):
        return web.Response(status=304, headers=headers)
    if len(rows) < most or wanted.limit is not None:
        if (
            wanted.limit is not None
            and len(rows) == most
            and await _more(request, kind, wanted, rows)
        ):
            headers["Link"] = _next(request, rows[-1][0])
        response = answers.raw("[" + ",".join(text for _, text in rows) + "]")
        response.headers.update(headers)
        return response
    return await _stream(request, kind, wanted, rows, headers)


async def _stream(
    request: web.Request,
    kind: Kind,
    wanted: Wanted,
    rows: list[tuple[str | int, str]],
    headers: dict[str, str],
) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    response.content_type, response.charset = "application/json", "utf-8"
    await response.prepare(request)
    reader, mark = request.app[CONTEXT].reader, "["
    while rows and request.method != "HEAD":
        await response.write((mark + ",".join(text for _, text in rows)).encode())
        last, mark = rows[-1][0], ","
        rows = await reader.run(
            partial(objects.page, kind=kind, query=wanted.query, after=last, limit=PAGE)
        )
    if request.method != "HEAD":
        await response.write(b"]")
    await response.write_eof()
    return response


async def _more(
    request: web.Request, kind: Kind, wanted: Wanted, rows: list[tuple[str | int, str]]
) -> bool:
    """Whether anything stands behind the page."""
    reader, last = request.app[CONTEXT].reader, rows[-1][0]
    return bool(
        await reader.run(partial(objects.page, kind=kind, query=wanted.query, after=last, limit=1))
    )


def _wanted(request: web.Request, kind: Kind, who: Caller) -> Wanted:
    given = request.query
    allowed = {"limit", "after"} | ({"domain"} if kind.domain else set())
    allowed |= {"q"} if kind.search else set()
    allowed |= {"active"} if kind.switch else set()
    for name in given:
        if name not in allowed or len(given.getall(name)) > 1:
            shown = name if name in ("limit", "after", "q", "domain", "active") else "query"
            raise Invalid.field(shown, "is not a parameter of this list, or stands there twice")
    query = Query(
        domain=_domain(given["domain"]) if "domain" in given else None,
        active=flag("active", given["active"]) if "active" in given else None,
        q=given.get("q") or None,
        only=who.domains or None,
    )
    limit = _number("limit", given["limit"], 1, PAGE) if "limit" in given else None
    return Wanted(query, _after(kind, given.get("after")), limit)


def _after(kind: Kind, text: str | None) -> str | int | None:
    if text is None or kind.key != "id":
        return text
    return _number("after", text, 0, 10**18)


def _number(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise Invalid.field(name, f"must be a whole number from {least} to {most}")
    return int(text)


def _domain(text: str) -> str:
    try:
        return addresses.domain(text)
    except ValueError as error:
        raise Invalid.field("domain", str(error)) from None


def no_parameters(request: web.Request) -> None:
    """Raise `Invalid` if the query has any."""
    if request.query:
        raise Invalid.field("query", "takes no parameters here; leave them out")


def _tagged(request: web.Request, text: str) -> web.StreamResponse:
    tag = etag(text)
    if answers.unchanged(request, tag):
        return web.Response(status=304, headers={"ETag": tag})
    response = answers.raw(text)
    response.headers["ETag"] = tag
    return response


def _list_tag(request: web.Request, version: int) -> str:
    shown = f"{request.path_qs} {caller(request).domains}"
    return f'W/"{version}-{hashlib.sha256(shown.encode()).hexdigest()[:16]}"'


def _next(request: web.Request, last: str | int) -> str:
    url = request.rel_url.update_query({"after": str(last)})
    return f'<{url}>; rel="next"'
