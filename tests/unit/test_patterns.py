"""The schemas of request bodies take what the service takes, as far as a schema can tell."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mailapi import addresses, models, passwords, syncmodels
from mailapi.api import schemas
from mailapi.api.examples import EXAMPLES
from mailapi.errors import Invalid

SCHEMAS = schemas.components()
SHA_CRYPT = "{SHA512-CRYPT}$6$rounds="


def fitting(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a field's schema."""
    if schema.get("type") == "array":
        return st.lists(fitting(schema["items"]), min_size=schema.get("minItems", 0), max_size=3)
    if "anyOf" in schema:
        parts = (fitting(part) for part in schema["anyOf"] if part.get("type") != "null")
        return st.one_of(*parts).filter(Draft202012Validator(schema).is_valid)
    if schema.get("format") == "date-time":
        return st.datetimes(timezones=st.timezones()).map(lambda when: when.isoformat())
    return st.from_regex(schema["pattern"], fullmatch=True).filter(
        Draft202012Validator(schema).is_valid
    )


ADDED = {
    "DomainAdd": ("domain", "description"),
    "MailboxAdd": ("local_part", "name", "password", "password_hash"),
    "AliasAdd": ("address", "goto", "description"),
    "KeyAdd": ("name", "domains", "allow_from"),
}


@pytest.mark.parametrize(("model", "field"), [(m, f) for m, names in ADDED.items() for f in names])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_fits_is_taken(model: str, field: str, data: st.DataObject) -> None:
    """A value that fits its schema is taken, but for what no pattern can tell."""
    value = data.draw(fitting(SCHEMAS[model]["properties"][field]))
    for text in (value,) if isinstance(value, str) else value:
        for part in text.split(","):
            assume(not re.search(r"(?:^|[.@])[^.@]{2}--", part))  # IDNA 2008
            assume(len(part.strip()) <= addresses.MAX_ADDRESS or field != "goto")
    if field == "password":
        assume(len(value.encode()) <= passwords.MAX_BYTES)
        passwords.check(value, 8)
    elif field == "password_hash":
        passwords.check_hash(value)
    models.parse(getattr(models, model), EXAMPLES[model] | {field: value})


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("DomainAdd", "domain", "xn--bcher-kva.example"),
        ("DomainAdd", "domain", "a.XN--P1AI"),
        ("MailboxAdd", "local_part", "o'neil.-_-.7"),
        ("MailboxAdd", "name", "Jürgen “J.” 李"),
        ("MailboxAdd", "password", "pass wörd: 密码"),
        ("MailboxAdd", "password_hash", passwords.UNMATCHABLE),
        ("MailboxAdd", "password_hash", f"{SHA_CRYPT}2000000$s${'a' * 86}"),
        ("AliasAdd", "address", "@example.com"),
        ("AliasAdd", "address", "a+b@example.com"),
        ("AliasAdd", "goto", "A/b#1@example.org , c@example.org"),
        ("AliasAdd", "goto", ["c@example.org"]),
        ("AliasAdd", "description", "two\n\tlines"),
        ("SyncJobAdd", "host1", "IMAP.example.org"),
        ("SyncJobAdd", "host1", "mailserver"),
        ("SyncJobAdd", "host1", "192.0.2.1"),
        ("SyncJobAdd", "host1", "2001:db8::1"),
        ("KeyAdd", "allow_from", ["::1", "fe80::/10", "10.0.0.0/8", "127.0.0.1"]),
    ],
)
def test_ordinary_values_fit(model: str, field: str, value: object) -> None:
    """The patterns refuse nothing that is in use."""
    Draft202012Validator(SCHEMAS[model]["properties"][field]).validate(value)


@pytest.mark.parametrize(
    ("model", "change"),
    [
        ("MailboxAdd", {"password": ...}),
        ("MailboxAdd", {"password_hash": passwords.UNMATCHABLE}),
        ("MailboxUpdate", {"password_hash": passwords.UNMATCHABLE}),
        ("MailboxAdd", {"password": ..., "password_hash": f"{SHA_CRYPT}3000000$s${'a' * 86}"}),
        ("MailboxAdd", {"password": ..., "password_hash": f"{{PLAIN}}{'a' * 8}"}),
        ("MailboxAdd", {"local_part": "user+tag"}),
        ("MailboxAdd", {"local_part": "._."}),
        ("MailboxAdd", {"name": "two\nlines"}),
        ("MailboxAdd", {"password": " " * 8}),
        ("DomainAdd", {"domain": "localhost"}),
        ("DomainAdd", {"domain": "192.0.2.1"}),
        ("DomainAdd", {"quota": 0}),
        ("DomainAdd", {"more": 1}),
        ("AliasAdd", {"goto": []}),
        ("AliasAdd", {"goto": "|command"}),
        ("AliasAdd", {"goto": "@example.org"}),
        ("AliasAdd", {"address": f"{'a' * 65}@example.com"}),
        ("SyncJobAdd", {"host1": "0"}),
        ("SyncJobAdd", {"host1": "a" * 64}),
        ("KeyAdd", {"scope": "admin"}),
    ],
)
def test_what_does_not_fit_is_refused(model: str, change: dict[str, Any]) -> None:
    """The schema refuses what the service refuses."""
    body = EXAMPLES[model] | change
    body = {name: value for name, value in body.items() if value is not ...}
    assert not Draft202012Validator(SCHEMAS[model]).is_valid(body)
    if "host1" in change:
        with pytest.raises(Invalid):
            models.parse(syncmodels.SyncJobAdd, body)
