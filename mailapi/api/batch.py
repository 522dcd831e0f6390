"""POST /batch: up to a thousand changes, all or nothing, in one transaction and one generation.

Items are planned in their order; the rules of later ones see what earlier ones did. The answer is
an array in the same order. If one is refused, its error stands in its place, the others say that
they were not stored (424, RFC 4918), and the status of the whole is the refused one's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from .. import service
from ..apply import Committed
from ..errors import Invalid, MailapiError, MethodNotAllowed, NotFound, NotLive
from ..models import BatchItem, parse
from ..txn import Rule
from . import answers, body, writes
from .context import CONTEXT, caller

MOST: Final = 1000
MOST_PASSWORDS: Final = 100  # each takes a quarter of a second of a core
_PATH: Final = re.compile(r"/(domains|mailboxes|aliases|syncjobs)(?:/([^/?#]+))?(?:\?([^?#]*))?")
_NOT_STORED: Final = {
    "status": 424,
    "type": "error",
    "msg": "Not stored, because another change of the batch was refused.",
    "code": "not_stored",
}


async def batch(request: web.Request) -> web.StreamResponse:
    """Run an array of `{"method":…,"path":…,"body":…}`."""
    raw = await writes.received(request)
    value = body.parse(raw, request.headers.get("Content-Type", ""))
    idempotency = writes.idempotency_of(request, raw)
    items = _items(value)
    rules: list[Rule] = []
    try:
        for item in items:
            rules.append(await _planned(request, item))
        committed = await writes.submit(request, rules, idempotency)
    except MailapiError as error:
        if answers.status_of(error) >= 500:
            raise
        return _refused(error, getattr(error, "failed_at", len(rules)), len(items))
    applied, problem = await writes.settled(request, committed)
    return _answer(committed, applied, problem)


def _items(value: object) -> Sequence[dict[str, Any]]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST:
        raise Invalid(f"The request body must be an array of 1 to {MOST} changes.")
    items = [_item(index, item) for index, item in enumerate(value)]
    passwords = sum("password" in (item["body"] or {}) for item in items)
    if passwords > MOST_PASSWORDS:
        raise Invalid(
            f"A batch may set {MOST_PASSWORDS} passwords, each takes long to hash; "
            "send the others in further batches, or as password_hash."
        )
    return items


def _item(index: int, value: object) -> dict[str, Any]:
    try:
        return parse(BatchItem, value)
    except Invalid as error:
        raise Invalid(f"Change {index} of the batch: {error.msg}", fields=error.fields) from None


async def _planned(request: web.Request, item: dict[str, Any]) -> Rule:
    """The rule of an item; its path is `/resource` or `/resource/name`, with or without a query."""
    found = _PATH.fullmatch(item["path"]) if item["path"].isprintable() else None
    if found is None:
        raise NotFound
    try:
        key = unquote(found[2] or "", errors="strict")
    except ValueError:
        raise NotFound from None
    query = writes.once(parse_qsl(found[3] or "", keep_blank_values=True))
    asked = service.Request(caller(request), key, item["body"], query)
    try:
        return await request.app[CONTEXT].changes.plan(item["method"], found[1], asked)
    except MethodNotAllowed:
        raise Invalid("POST goes to /resource, PUT and DELETE to /resource/name.") from None


def _answer(committed: Committed, applied: bool, problem: NotLive | None) -> web.Response:
    parts = []
    for result in committed.outcome.results:
        status = result.status if applied else 202
        change = answers.change_body(result, applied, problem)
        parts.append(f'{{"status": {status}, {change[1:]}')
    response = answers.raw("[" + ",".join(parts) + "]", 200 if applied else 202)
    if not applied and problem is None:
        response.headers["Preference-Applied"] = "respond-async"
    return response


def _refused(error: MailapiError, index: int, count: int) -> web.Response:
    status = answers.status_of(error)
    parts: list[dict[str, Any]] = [_NOT_STORED] * count
    parts[index] = {"status": status, **answers.error_body(error)}
    return answers.raw(json.dumps(parts, ensure_ascii=False), status)
