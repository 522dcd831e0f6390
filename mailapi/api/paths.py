"""The paths of the OpenAPI document, each with its methods; `routes` registers the same.

Each operation names the errors that are its own, and what it takes from the request.
"""

from __future__ import annotations

from typing import Final

from .operations import operation, response, takes
from .patterns import Schema
from .schemas import RESOURCES, ref

_BODY: Final = (408, 413, 503, 507)  # DELETE has one too, which nobody reads
_WORDS: Final = {
    "domains": "a domain",
    "mailboxes": "a mailbox",
    "aliases": "an alias",
    "syncjobs": "a sync job",
    "keys": "an API key",
}
_KEYS: Final = {"domains": "domain", "mailboxes": "email"}  # the others: id
_CREATING: Final = {"domains": (409,), "keys": (), "syncjobs": (404,)}  # errors; else both

_PLACE: Final = (
    "Where `host1`, `port1`, `user1` or `enc1` changes, `password1` is required: the stored one is "
    "never sent anywhere else."
)


def paths() -> dict[str, Schema]:
    """All path items; those of /metrics are below the host's root, the others below /api/v1."""
    found = {}
    for resource in RESOURCES:
        found[f"/{resource}"] = {"get": _list(resource), "post": _create(resource)}
        found[f"/{resource}/{{{_KEYS.get(resource, 'id')}}}"] = {
            "get": _get(resource),
            **({} if resource == "keys" else {"put": _update(resource)}),
            "delete": _delete(resource),
        }
    found["/syncjobs"]["post"] = _create_syncjob()
    found["/syncjobs/{id}"]["put"]["description"] = _PLACE
    found["/syncjobs/{id}/run"] = {"post": _run()}
    found["/syncjobs/{id}/runs"] = {"get": _runs()}
    return (
        found | {"/changes": {"get": _list("changes")}, "/batch": {"post": _batch()}} | _service()
    )


def _list(resource: str) -> Schema:
    name = RESOURCES.get(resource, "Change")
    named = resource in ("domains", "mailboxes")
    filters = {"keys": (), "changes": ("of_domain",)}.get(resource, ("of_domain", "active"))
    return operation(
        f"list{resource.capitalize()}",
        "Show the change log, newest first" if name == "Change" else f"Show all {resource}",
        resource,
        {200: {"type": "array", "items": ref(name)}},
        parameters=(
            "limit",
            "after_name" if named else "after_id",
            *filters,
            "q",
            "If-None-Match",
        ),
        headers=("ETag", "X-Total-Count", "Link"),
    )


def _get(resource: str) -> Schema:
    name = RESOURCES[resource]
    return operation(
        f"get{name}",
        f"Show {_WORDS[resource]}",
        resource,
        {200: ref(name)},
        parameters=(_KEYS.get(resource, "id"), "If-None-Match"),
        headers=("ETag",),
        errors=(404,),
    )


def _create(resource: str) -> Schema:
    name, errors = RESOURCES[resource], _CREATING.get(resource, (404, 409))
    stored = ref(f"{name}Stored")
    return operation(
        f"create{name}",
        f"Add {_WORDS[resource]}",
        resource,
        {201: stored, 202: stored},
        parameters=("Idempotency-Key", "Prefer"),
        headers=("ETag", "Location"),
        errors=(*_BODY, 415, 422, *errors),
    ) | takes(ref(f"{name}Add"), f"{name}Add")


def _update(resource: str) -> Schema:
    name = RESOURCES[resource]
    stored = ref(f"{name}Stored")
    return operation(
        f"update{name}",
        f"Change {_WORDS[resource]}: the fields given, and no others",
        resource,
        {200: stored, 202: stored},
        parameters=(_KEYS.get(resource, "id"), "If-Match", "Prefer"),
        headers=("ETag",),
        errors=(*_BODY, 404, 412, 415, *((409,) if resource == "aliases" else ())),
    ) | takes(ref(f"{name}Update"), f"{name}Update")


def _delete(resource: str) -> Schema:
    own = (409, 412) if resource == "domains" else (412,)
    return operation(
        f"delete{RESOURCES[resource]}",
        f"Remove {_WORDS[resource]}",
        resource,
        {200: ref("Removed"), 202: ref("Removed")},
        parameters=(
            _KEYS.get(resource, "id"),
            *(("cascade",) if resource == "domains" else ()),
            "If-Match",
            "Prefer",
        ),
        errors=(*_BODY, 404, *own),
    )


def _create_syncjob() -> Schema:
    found = _create("syncjobs")
    found["parameters"].append(ref("test", "parameters"))
    found["responses"]["200"] = response(200, ref("Tested"))
    return found


def _run() -> Schema:
    return operation(
        "runSyncJob",
        "Start a sync job now",
        "syncjobs",
        {200: ref("Started"), 202: ref("Started")},
        parameters=("id", "Prefer"),
        errors=(*_BODY, 404),
    )


def _runs() -> Schema:
    return operation(
        "listRuns",
        "Show the runs of a sync job, newest first",
        "syncjobs",
        {200: {"type": "array", "items": ref("Run")}},
        parameters=("id", "limit", "after_id", "If-None-Match"),
        headers=("ETag", "X-Total-Count", "Link"),
        errors=(404,),
    )


def _batch() -> Schema:
    """A refused change is shown in its place; a refused request as an error."""
    found = operation(
        "runBatch",
        "Make many changes, all or none",
        "batch",
        {200: ref("BatchAnswer"), 202: ref("BatchAnswer")},
        parameters=("Idempotency-Key", "Prefer"),
        errors=(*_BODY, 404, 409, 415, 422),
    )
    either = {"anyOf": [ref("Error"), ref("BatchAnswer")]}
    for status in (400, 403, 404, 409, 422):
        found["responses"][str(status)] = response(status, either)
    items = {"type": "array", "minItems": 1, "maxItems": 1000, "items": ref("BatchItem")}
    return found | takes(items, "Batch")


def _service() -> dict[str, Schema]:
    text: Schema = {"type": "string"}
    ready = {200: ref("Ready"), 503: ref("Ready")}
    health = {200: ref("Health")}
    metrics = operation(
        "getMetrics",
        "Show numbers for Prometheus; open on loopback only",
        "service",
        {200: text},
        errors=(403,),
        closed=False,
        media="text/plain",
    )
    return {
        "/status": {"get": _status()},
        "/apply": {"post": _apply()},
        **_document(),
        "/healthz": {
            "get": operation("getHealth", "Does it answer?", "service", health, closed=False)
        },
        "/readyz": {
            "get": operation("getReady", "Is it all live?", "service", ready, closed=False)
        },
        "/metrics": {"servers": [{"url": "/"}], "get": metrics},
    }


def _document() -> dict[str, Schema]:
    document = operation(
        "getOpenApi",
        "Show this document",
        "service",
        {200: {"type": "object"}},
        parameters=("If-None-Match",),
        headers=("ETag",),
        closed=False,
    )
    docs = operation(
        "getDocs",
        "Show this document in a browser",
        "service",
        {200: {"type": "string"}},
        closed=False,
        media="text/html",
    )
    return {"/openapi.json": {"get": document}, "/docs": {"get": docs}}


def _status() -> Schema:
    return operation(
        "getStatus",
        "Show the generations; wait until one is live",
        "service",
        {200: ref("Status")},
        parameters=("generation", "wait"),
    )


def _apply() -> Schema:
    return operation(
        "applyAll",
        "Render, publish and reload everything again",
        "service",
        {200: ref("Applied"), 202: ref("Applied")},
        parameters=("Prefer",),
        errors=(503,),
    )
