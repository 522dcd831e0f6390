"""The OpenAPI document and the service say the same."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator
from restapi import DOMAIN, Answer, Api

from mailapi import errors, fields
from mailapi.api import openapi
from mailapi.api.answers import STATUS
from mailapi.api.middleware import is_open

DOCUMENT: dict[str, Any] = json.loads(json.dumps(openapi.document()))
SCHEMAS = DOCUMENT["components"]["schemas"]
METHODS = ("get", "post", "put", "delete")
OPERATIONS = {
    item[method]["operationId"]: (method, path, item[method])
    for path, item in DOCUMENT["paths"].items()
    for method in METHODS
    if method in item
}
PAGES = ("/password", "/.well-known/", "/api/v1/docs/")  # for people, not for programs
ASYNC = {"Prefer": "respond-async"}
PATH = {"domain": "example.com", "email": "user@example.com", "id": "1"}


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to."""
    for name in value.get("$ref", "#").split("/")[1:]:
        value = DOCUMENT[name] if name == "components" else value[name]
    return value


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    root = schema | {"components": DOCUMENT["components"]}
    return Draft202012Validator(root, format_checker=FormatChecker())


def conforms(name: str, answer: Answer) -> None:
    """The answer is one that the document has: status, headers, media type, body."""
    responses = OPERATIONS[name][2]["responses"]
    assert str(answer.status) in responses, answer.text
    response = resolved(responses[str(answer.status)])
    for header, of in response["headers"].items():
        if resolved(of).get("required"):
            assert header in answer.headers
        if header in answer.headers and resolved(of)["schema"]["type"] == "integer":
            assert answer.headers[header].isdigit()
    if "content" not in response:
        assert answer.raw == b""
        return
    ((media, of),) = response["content"].items()
    assert answer.headers["Content-Type"].split(";")[0] == media
    validator(of["schema"]).validate(answer.json if media.endswith("json") else answer.text)


async def send(api: Api, name: str, body: Any = None, **headers: str) -> Answer:
    """Send an operation's example, or the body, to the path of the examples."""
    method, path, operation = OPERATIONS[name]
    headers = {header.replace("_", "-"): value for header, value in headers.items()}
    if body is None and "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]["example"]
    given = () if body is None else (body,)
    answer = await api.send(method.upper(), path.format(**PATH), *given, headers=headers)
    conforms(name, answer)
    return answer


@pytest.fixture
async def made(api: Api) -> Api:
    """The service with the examples' objects."""
    for name in ("createDomain", "createMailbox", "createAlias", "createSyncJob"):
        assert (await send(api, name)).status == 201
    return api


def test_valid() -> None:
    """The document is valid OpenAPI 3.1, its schemas are valid JSON Schema."""
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


async def test_served_and_kept(api: Api) -> None:
    """It is open, always the same octets, and not sent again to who has it."""
    first = await api.using(None).get("/openapi.json")
    assert first.json == DOCUMENT
    assert (await api.get("/openapi.json")).raw == first.raw
    again = await api.get("/openapi.json", If_None_Match=first.headers["ETag"])
    assert (again.status, again.raw) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]


async def test_routes_and_operations_are_the_same(api: Api) -> None:
    """Every route and method of the API is an operation, open or closed alike, and vice versa."""
    registered = {
        (route.method, re.sub(r"\{\w+\}", "{}", route.resource.canonical), is_open(route.handler))
        for route in api.app.router.routes()
        if route.method != "HEAD" and not route.resource.canonical.startswith(PAGES)
    }
    described = {
        (
            method.upper(),
            ("" if "servers" in DOCUMENT["paths"][path] else openapi.SERVER)
            + re.sub(r"\{\w+\}", "{}", path),
            operation.get("security") == [],
        )
        for method, path, operation in OPERATIONS.values()
    }
    assert registered == described


def test_names_are_stable() -> None:
    """Generated clients have methods of these names."""
    assert set(OPERATIONS) == {
        *("listDomains", "createDomain", "getDomain", "updateDomain", "deleteDomain"),
        *("listMailboxes", "createMailbox", "getMailbox", "updateMailbox", "deleteMailbox"),
        *("listAliases", "createAlias", "getAlias", "updateAlias", "deleteAlias"),
        *("listSyncjobs", "createSyncJob", "getSyncJob", "updateSyncJob", "deleteSyncJob"),
        *("runSyncJob", "listRuns"),
        *("listKeys", "createKey", "getKey", "deleteKey", "listChanges", "runBatch"),
        *("getStatus", "applyAll", "getOpenApi", "getDocs", "getHealth", "getReady", "getMetrics"),
    }


def test_path_names_are_parameters() -> None:
    """Each name in a path is a required parameter, and no other parameter is in the path."""
    for _, path, operation in OPERATIONS.values():
        parameters = [resolved(parameter) for parameter in operation.get("parameters", ())]
        in_path = [p["name"] for p in parameters if p["in"] == "path"]
        assert in_path == re.findall(r"\{(\w+)\}", path)


@pytest.mark.parametrize(("kind", "status"), STATUS.items())
def test_error_codes(kind: type[errors.MailapiError], status: int) -> None:
    """Each status that errors have stands at an operation, with the codes it may have."""
    answers = [o["responses"].get(str(status)) for _, _, o in OPERATIONS.values()]
    assert any(answers) or kind is errors.MethodNotAllowed  # which no operation that is here gives
    of = DOCUMENT["components"]["responses"][f"Error{status}"]
    every = {kind.code, *(sub.code for sub in kind.__subclasses__())}
    schema = resolved(of["content"]["application/json"]["schema"])
    shown = set(schema["properties"]["code"]["enum"])
    assert every <= shown <= set(SCHEMAS["Error"]["properties"]["code"]["enum"])
    assert all(f"`{code}`" in of["description"] for code in every)


def test_codes_of_what_is_not_live() -> None:
    """GET /status tells the code of what keeps a generation from being live."""
    codes = {kind.code for kind in errors.NotLive.__subclasses__()}
    assert set(SCHEMAS["Status"]["properties"]["problem"]["properties"]["code"]["enum"]) == codes


@pytest.mark.parametrize("name", ["Domain", "Mailbox", "Alias"])
def test_updates_require_nothing(name: str) -> None:
    """PUT takes any part of an object; null is no value, and read-only fields are marked."""
    update, add, shown = (SCHEMAS[f"{name}{of}"] for of in ("Update", "Add", ""))
    assert "required" not in update
    assert all(of.get("default", 0) is not None for of in update["properties"].values())
    assert update["properties"].keys() >= add["properties"].keys() | shown["properties"].keys()
    for field in update["properties"].keys() - add["properties"].keys():
        assert update["properties"][field]["readOnly"]


def test_numbers_have_bounds() -> None:
    """Every integer of a request has the bounds that the service has, every text its length."""
    for model in ("DomainAdd", "DomainUpdate", "MailboxAdd", "MailboxUpdate"):
        for field, of in SCHEMAS[model]["properties"].items():
            if of.get("readOnly"):
                continue
            if of["type"] == "integer":
                assert of["minimum"] in (0, 1)
                assert of["maximum"] == fields.MAX_NUMBER, field
            if of["type"] == "string":
                assert of["maxLength"] > 0, field


async def test_examples_are_taken(api: Api) -> None:
    """Every example fits its schema, and the service takes one after the other."""
    for name in OPERATIONS:
        content = OPERATIONS[name][2].get("requestBody", {}).get("content", {})
        for media in content.values():
            validator(media["schema"]).validate(media["example"])
    assert (await send(api, "createDomain")).json["msg"] == "Domain has been added to system"
    assert (await send(api, "createMailbox")).json["msg"] == "Mailbox has been added"
    for name in ("createAlias", "createKey"):
        assert (await send(api, name)).status == 201
    for name in ("updateDomain", "updateMailbox", "updateAlias", "runBatch"):
        assert (await send(api, name)).status == 200


@pytest.mark.parametrize("name", ["Domain", "Mailbox", "Alias"])
async def test_what_get_shows_fits_put(made: Api, name: str) -> None:
    """A client can PUT what it read."""
    shown = (await send(made, f"get{name}")).json
    validator(SCHEMAS[f"{name}Update"]).validate(shown)
    assert (await send(made, f"update{name}", shown)).status == 200


async def test_reads(made: Api) -> None:
    """Every GET answers 200 as described, and 304 where it has an ETag."""
    for name in OPERATIONS:
        if name.startswith(("get", "list")):
            answer = await send(made, name)
            assert answer.status == 200
            if tag := answer.headers.get("ETag"):
                assert (await send(made, name, If_None_Match=tag)).status == 304


@pytest.mark.parametrize(
    ("name", "body", "headers", "status"),
    [
        ("updateMailbox", None, {}, 200),
        ("updateMailbox", None, ASYNC, 202),
        ("updateMailbox", None, {"If-Match": '"other"'}, 412),
        ("updateMailbox", None, {"Content-Type": "text/plain"}, 415),
        ("updateMailbox", {"name": 1, "quota": "1", "more": True}, {}, 400),
        ("deleteMailbox", None, {}, 200),
        ("deleteAlias", None, ASYNC, 202),
        ("deleteDomain", None, {}, 409),
        ("createDomain", None, {}, 409),
        ("createAlias", {"address": "a@example.net", "goto": "a@example.org"}, {}, 404),
        ("createAlias", {"address": "a@example.com", "goto": "a@example.com"}, {}, 400),
        ("createKey", None, ASYNC, 202),
        ("runBatch", None, {}, 200),
        ("runBatch", None, ASYNC, 202),
        ("runBatch", [], {}, 400),
        ("runBatch", [{"method": "POST", "path": "/domains/x.example", "body": {}}], {}, 400),
        ("runBatch", [{"method": "DELETE", "path": "/domains/example.com"}], {}, 409),
        (
            "runBatch",
            [
                {"method": "DELETE", "path": "/aliases/1"},
                {"method": "DELETE", "path": "/aliases/1"},
            ],
            {},
            404,
        ),
        ("applyAll", None, {}, 200),
        ("applyAll", None, ASYNC, 202),
        ("getDomain", None, {"Accept": "image/png"}, 406),
    ],
)
async def test_answers(
    made: Api, name: str, body: Any, headers: dict[str, str], status: int
) -> None:
    """Changes and refusals have the shape that the document gives their status."""
    assert (await send(made, name, body, **headers)).status == status


async def test_without_a_key(api: Api) -> None:
    """Exactly the closed operations describe 401, and answer it."""
    for name, (_, _, operation) in OPERATIONS.items():
        answer = await send(api.using(None), name)
        assert (answer.status == 401) == ("security" not in operation)


async def test_forbidden(made: Api) -> None:
    """What a key does not cover is answered as described."""
    reader = made.key(scope="read", domains=["example.com"])
    for name in ("createDomain", "listKeys", "listChanges", "runBatch", "applyAll"):
        assert (await send(reader, name)).status == 403


async def test_used_idempotency_key(api: Api) -> None:
    """A repeated request is answered as the first, another one with 422, both as described."""
    for status, body in ((201, None), (201, None), (422, DOMAIN | {"active": False})):
        assert (await send(api, "createDomain", body, Idempotency_Key="1")).status == status


async def test_too_many_and_too_large(start: Any) -> None:
    """429 and 413 are as described."""
    api = await start(rate_limit__requests=2)
    answer = await api.send("POST", "/domains", data=io.BytesIO(b"1" * 9_000_000))
    assert answer.status == 413
    conforms("createDomain", answer)
    assert (await send(api, "listDomains")).status == 200
    assert (await send(api, "listDomains")).status == 429


async def test_pages(made: Api) -> None:
    """A page with more behind it has a Link, and its parameters are those of the document."""
    answer = await made.get("/changes?limit=1&q=e&domain=example.com")
    conforms("listChanges", answer)
    assert 'rel="next"' in answer.headers["Link"]
