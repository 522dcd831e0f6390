"""The schemas of the OpenAPI document: pydantic's of `models`, and those of what is around them.

Requests have the names of their models, objects in answers too: `DomainAdd`, `DomainUpdate`,
`Domain`. `DomainStored` answers a change of one. Fields that PUT takes only as they are stand
there as `readOnly`.

Every object has a name of its own: to those without, generators of clients give one that they
invent, and sometimes the same to two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from .. import errors, models, syncmodels
from ..errors import MailapiError, NotLive
from .answers import status_of
from .patterns import FIELDS, RULES, Schema

RESOURCES: Final = {
    "domains": "Domain",
    "mailboxes": "Mailbox",
    "aliases": "Alias",
    "syncjobs": "SyncJob",
    "keys": "Key",
}
_CHANGED: Final = ("Domain", "Mailbox", "Alias", "SyncJob")  # by PUT and in batches
_OBJECTS: Final = (*RESOURCES.values(), "Change", "Run", "RemoteFolder")
_REQUESTS: Final = (*(f"{n}{of}" for n in _CHANGED for of in ("Add", "Update")), "KeyAdd")
_TEXT: Final[Schema] = {"type": "string"}
_NUMBER: Final[Schema] = {"type": "integer", "minimum": 0}
_FLAG: Final[Schema] = {"type": "boolean"}
_TIMES: Final = ("created", "modified", "at", "started")
# Fields of an Add that PUT takes only as they are.
REPEATED: Final = ("domain", "local_part", "username")
NOT_STORED: Final = "not_stored"  # the code of the other changes of a refused batch


def ref(name: str, where: str = "schemas") -> Schema:
    """A reference to a component."""
    return {"$ref": f"#/components/{where}/{name}"}


def components() -> dict[str, Schema]:
    """All schemas by name."""
    wanted: list[tuple[Any, Any]] = [(_model(n), "serialization") for n in _OBJECTS]
    wanted += [(_model(name), "validation") for name in (*_REQUESTS, "BatchItem")]
    made = models_json_schema(wanted, ref_template="#/components/schemas/{model}")[1]["$defs"]
    found: dict[str, Schema] = {name: _untitled(schema) for name, schema in made.items()}
    for name in _OBJECTS:
        _complete(found[name])
    for name in _REQUESTS:
        _refine(found[name])
        found[name] |= RULES.get(name, {})
    for name in _CHANGED:
        _repeat(*(found[f"{name}{of}"]["properties"] for of in ("", "Add", "Update")))
    found |= _answers()
    found |= _errors(found["Error"])
    found |= _batch_items(found["BatchItem"])
    return found | _batch_answers(found)


def _model(name: str) -> Any:
    return getattr(models, name, None) or getattr(syncmodels, name)


def codes() -> dict[int, dict[str, str]]:
    """The error codes that HTTP answers, by status, each with its message."""
    found: dict[int, dict[str, str]] = {500: {MailapiError.code: MailapiError.default}}
    for kind in _kinds(MailapiError):
        if (status := status_of(kind())) != 500:
            found.setdefault(status, {})[kind.code] = kind.default
    return found


def _kinds(root: type[MailapiError]) -> Iterator[type[MailapiError]]:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, root) and kind is not root:
            yield kind


def _untitled(value: Any) -> Any:
    """Without pydantic's titles, which repeat the names."""
    if isinstance(value, list):
        return [_untitled(inner) for inner in value]
    if isinstance(value, dict):
        title = isinstance(value.get("title"), str)
        return {k: _untitled(v) for k, v in value.items() if not (title and k == "title")}
    return value


def _complete(schema: Schema) -> None:
    """GET always shows all the fields."""
    schema["required"] = list(schema["properties"])
    for name in schema["properties"].keys() & set(_TIMES):
        schema["properties"][name]["format"] = "date-time"


def _refine(schema: Schema) -> None:
    """Add to a request's fields what they must be besides; drop the null of the optional ones."""
    for name, field in schema["properties"].items():
        more = FIELDS.get(name, {})
        if "type" in more:
            field.pop("anyOf", None)
        if field.get("default", ...) is None:
            del field["default"]
        field |= more


def _repeat(shown: Schema, add: Schema, update: Schema) -> None:
    """Mark the fields that PUT takes only as GET shows them."""
    for name in update:
        if name not in add or name in REPEATED:
            update[name] = shown[name] | {"readOnly": True}


def _answers() -> dict[str, Schema]:
    """What is around the objects: changes, errors, the service's state."""
    found = {f"{name}Stored": _stored(name) for name in RESOURCES.values()}
    found["Removed"] = _change(id={"type": ["string", "integer"]})
    found["Applied"] = _change()
    found["Started"] = _change(id=_NUMBER, data=ref("SyncJob"))
    account = _closed(
        folders={"type": "array", "items": ref("RemoteFolder")},
        messages=_NUMBER,
        bytes={"type": ["integer", "null"], "minimum": 0},
    )
    found["Tested"] = _closed(type={"const": "success"}, msg=_TEXT, data=account)
    every = [code for by_status in codes().values() for code in by_status]
    found["FieldError"] = _closed(field=_TEXT, msg=_TEXT)
    fields = {"type": "array", "items": ref("FieldError")}
    kind = {"type": "string", "const": "error"}
    code = {"type": "string", "enum": [*every, NOT_STORED]}
    found["Error"] = _closed({"errors": fields}, type=kind, msg=_TEXT, code=code)
    problem = _closed(code={"enum": [kind.code for kind in _kinds(NotLive)]}, msg=_TEXT)
    found["Status"] = _closed(
        {"problem": problem},
        version=_TEXT,
        generation=_NUMBER,
        applied_generation=_NUMBER,
        applied=_FLAG,
    )
    found["Health"] = _closed(status={"const": "ok"})
    found["Ready"] = _closed(status={"enum": ["ok", "not live"]}, applied=_FLAG)
    return found


def _errors(error: Schema) -> dict[str, Schema]:
    """The error of each status, with the codes that it may have."""
    return {
        f"Error{status}": _more(error, code={"type": "string", "enum": list(of_status)})
        for status, of_status in codes().items()
    }


def _stored(name: str) -> Schema:
    """The answer to POST or PUT of an object."""
    identity = _TEXT if name in ("Domain", "Mailbox") else _NUMBER
    key = {"key": _TEXT | {"description": "the key itself, shown this once"}}
    return _change(key if name == "Key" else None, id=identity, data=ref(name))


def _change(optional: Schema | None = None, /, **members: Schema) -> Schema:
    """The answer to a change."""
    applied = _FLAG | {"description": "Postfix and Dovecot act on it already"}
    return _closed(
        {"detail": _TEXT} | (optional or {}),
        type={"type": "string", "const": "success"},
        msg=_TEXT,
        generation=_NUMBER,
        applied=applied,
        **members,
    )


def _batch_items(made: Schema) -> dict[str, Schema]:
    """What may stand in `path` and `body`, by method and resource: `BatchPutDomain`."""
    items = {}
    for resource, name in RESOURCES.items():
        if name in _CHANGED:
            one, cascade = f"/{resource}/[^/?#]+", r"(?:\?cascade=(?:true|false))?"
            for method, path, body in (
                ("POST", f"/{resource}", {"body": ref(f"{name}Add")}),
                ("PUT", one, {"body": ref(f"{name}Update")}),
                ("DELETE", one + (cascade if name == "Domain" else ""), {}),
            ):
                full = made["properties"]["path"] | {"pattern": f"^{path}$"}
                item = _closed(method={"const": method}, path=full, **body)
                items[f"Batch{method.capitalize()}{name}"] = item
    return items | {"BatchItem": {"description": made["description"], "anyOf": [*map(ref, items)]}}


def _batch_answers(found: dict[str, Schema]) -> dict[str, Schema]:
    """What became of each change, in their order; each as if it were alone, with its status."""
    names = (*(f"{name}Stored" for name in _CHANGED), "Removed", "Error")
    parts = {f"Batch{name}": _more(found[name], status={"type": "integer"}) for name in names}
    return parts | {"BatchAnswer": {"type": "array", "items": {"anyOf": [*map(ref, parts)]}}}


def _more(schema: Schema, **required: Schema) -> Schema:
    """The schema with these members besides, or in place of its own."""
    return schema | {
        "properties": schema["properties"] | required,
        "required": list(dict.fromkeys([*schema["required"], *required])),
    }


def _closed(optional: Schema | None = None, /, **required: Schema) -> Schema:
    """An object with these members and no others."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }
