"""What clients may send: strict models of request bodies, and their errors as fields at fault.

`parse(DomainAdd, value)` returns the fields in normal form, defaults filled in, and
`parse(DomainUpdate, value)` only those that were given. Both raise `Invalid`, which names each
field and says what it must be, and never repeats a value. A model ending in `Update` takes every
field of its `Add`, none required, and the read-only ones, whose values the rule compares with what
is stored.

The models that end in neither describe the objects as GET shows them; they serve the OpenAPI
document. Sizes are in MB (1,048,576 bytes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from .errors import FieldError, Invalid
from .fields import (
    Address,
    AliasAddress,
    Count,
    Description,
    DisplayName,
    DomainName,
    DomainNames,
    Expires,
    Goto,
    KeyName,
    LocalPart,
    Networks,
    Quota,
    ReadOnly,
    Secret,
    Size,
)

MOST_FIELDS: Final = 100  # in a body, and in the errors of one
_NAME = re.compile(r"[A-Za-z0-9_]{1,40}")
_WORDS: Final = {  # pydantic's words -> ours
    r"^Value error, ": "",
    r"^Input should be ": "must be ",
    r"^String should have ": "must have ",
    r"^List should have at most (\d+) items.*": r"must have at most \1 items",
    r"be a valid dictionary.*": "be a JSON object",
    r"^Field required": "is required",
    r"^Extra inputs are not permitted": "is not a field of this object; leave it out",
    r"a valid (list|tuple)": "an array",
    r"^must be (greater|less) than or equal to (\d+)": r"must be \1 than or equal to \2",
}


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class DomainAdd(Model):
    domain: DomainName
    active: bool
    aliases: Count
    mailboxes: Count
    defquota: Size
    maxquota: Size
    quota: Size
    backupmx: bool = False
    description: Description = ""


class MailboxAdd(Model):
    """`password` or, for unrestricted keys, `password_hash` in the form `{SCHEME}hash`."""

    local_part: LocalPart
    domain: DomainName
    name: DisplayName
    password: Secret | None = None
    password_hash: Secret | None = None
    quota: Quota
    active: bool
    force_pw_update: bool = False
    tls_enforce_in: bool = False
    tls_enforce_out: bool = False


class AliasAdd(Model):
    address: AliasAddress
    goto: Goto
    active: bool = True
    description: Description = ""


class KeyAdd(Model):
    name: KeyName
    scope: Literal["admin", "write", "read"]
    domains: DomainNames = []
    allow_from: Networks = []
    expires: Expires = None


class BatchItem(Model):
    """One change of a batch; `path` is relative to /api/v1 and may hold a query."""

    method: Literal["POST", "PUT", "DELETE"]
    path: Annotated[str, Field(max_length=2000)]
    body: dict[str, Any] | None = None


def update(model: type[Model], name: str, **read_only: Any) -> type[Model]:
    """The model for PUT: each field may be missing, but not null."""
    types = get_type_hints(model, include_extras=True) | read_only
    if name == "MailboxUpdate":
        types = {f: Secret if f.startswith("password") else of for f, of in types.items()}
    fields: dict[str, Any] = {f: (of, None) for f, of in types.items() if f != "model_config"}
    return create_model(name, __base__=Model, **fields)


def read_only(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, ReadOnly)


TIMES: Final = ("created", "modified")
DomainUpdate = update(
    DomainAdd, "DomainUpdate", **read_only("mailboxes_used", "aliases_used", "quota_used", *TIMES)
)
MailboxUpdate = update(
    MailboxAdd, "MailboxUpdate", email=Address, **read_only("quota_used", *TIMES)
)
AliasUpdate = update(AliasAdd, "AliasUpdate", **read_only("id", "domain", *TIMES))


class Domain(DomainAdd):
    """A domain as GET shows it."""

    mailboxes_used: int
    aliases_used: int
    quota_used: int
    created: str
    modified: str


class Mailbox(Model):
    """A mailbox as GET shows it; `quota_used` in bytes, null where Dovecot does not tell."""

    email: str
    local_part: str
    domain: str
    name: str
    quota: int
    active: bool
    force_pw_update: bool
    tls_enforce_in: bool
    tls_enforce_out: bool
    quota_used: int | None
    created: str
    modified: str


class Alias(Model):
    """An alias as GET shows it."""

    id: int
    address: str
    domain: str
    goto: str
    active: bool
    description: str
    created: str
    modified: str


class Key(Model):
    """An API key as GET shows it; never the key itself."""

    id: int
    name: str
    scope: str
    domains: list[str]
    allow_from: list[str]
    expires: str | None
    created: str


class Change(Model):
    """A line of the change log: who changed what, when, and how it looked before and after."""

    id: int
    generation: int
    at: str
    who: str
    request_id: str
    action: Literal["add", "update", "remove"]
    object: str
    name: str
    domain: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def parse(model: type[Model], value: object) -> dict[str, Any]:
    """The fields of a body: for an `Update` those given, else all. Raise `Invalid`."""
    if isinstance(value, dict) and len(value) > MOST_FIELDS:
        raise Invalid(
            f"The request body has more than {MOST_FIELDS} fields; no object has so many."
        )
    try:
        found = model.model_validate(value)
    except ValidationError as error:
        raise _invalid(model.model_fields, error) from None
    return found.model_dump(exclude_unset=model.__name__.endswith("Update"))


def _invalid(known: Mapping[str, Any], error: ValidationError) -> Invalid:
    """pydantic's errors in our words; only field names of ours and plain ones are repeated."""
    details = error.errors(include_input=False, include_context=False, include_url=False)
    fields = list({_field(item["loc"]): _message(item["msg"]) for item in details}.items())
    if fields[0][0] == "":
        return Invalid("The request body must be a JSON object with the fields of the object.")
    first, msg = fields[0]
    told = [FieldError(*field) for field in fields[:MOST_FIELDS]]
    return Invalid(f"{first}: {msg}", fields=told)


def _field(loc: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in loc[:1]] + [str(part) for part in loc[1:] if type(part) is int]
    if parts and not _NAME.fullmatch(parts[0]):
        parts[0] = "unknown field"
    return ".".join(parts)


def _message(msg: str) -> str:
    for theirs, ours in _WORDS.items():
        msg = re.sub(theirs, ours, msg)
    return msg
