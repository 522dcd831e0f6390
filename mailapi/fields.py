"""The types of the fields of objects: what each must be, and the normal form that is stored.

Each is strict, and its message says what the value must be without repeating it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from . import addresses

MAX_NUMBER: Final = 10**12  # a quota of so many MB still fits 64 bits in bytes


def _free_text(allowed: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if any(unicodedata.category(c) in ("Cc", "Cs") and c not in allowed for c in text):
            kept = " but newline and tab" if allowed else ""
            raise ValueError(f"must not hold control characters{kept}")
        return text

    return check


def _goto(value: Any) -> tuple[str, ...]:
    if not isinstance(value, str) and not (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    ):
        raise ValueError("must be one string of addresses separated by commas, or an array of them")
    return addresses.targets(value)


def _networks(values: list[str]) -> list[str]:
    try:
        return [str(ip_network(value, strict=False)) for value in values]
    except ValueError:
        raise ValueError("must be IP addresses or networks such as 10.0.0.0/8") from None


def _expires(text: str | None) -> str | None:
    """The time in UTC and whole seconds, as all times here."""
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
        if when.tzinfo is None:
            raise ValueError
        return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        raise ValueError("must be a time with its zone, such as 2030-01-31T00:00:00Z") from None


def _host(text: str) -> str:
    """A host name in A-labels or an IP address, as a connection wants it."""
    try:
        if "%" in text:  # a scope, which may be any text
            raise ValueError
        return str(ip_address(text.strip("[]")))
    except ValueError:
        pass
    name = addresses.domain(text) if "." in text or not text.isascii() else text.lower()
    if "." not in name and not _HOST.fullmatch(name):
        raise ValueError("must be a host name or an IP address")
    return name


def _folder(text: str) -> str:
    """A folder of the mailbox, with / between its levels; "" is none."""
    if not text or all(part.strip() == part != "" for part in text.split("/")):
        return _free_text("")(text)
    raise ValueError("must be a folder such as Old or Old/Work")


def _unique(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


_HOST: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")  # one label; 0 or 0x7f is none

Count = Annotated[int, Field(ge=0, le=MAX_NUMBER)]
Size = Annotated[int, Field(ge=1, le=MAX_NUMBER, description="MB")]
Quota = Annotated[int, Field(ge=0, le=MAX_NUMBER, description="MB, 0 = unlimited")]
DomainName = Annotated[str, AfterValidator(addresses.domain)]
LocalPart = Annotated[str, AfterValidator(addresses.local_part)]
Address = Annotated[str, AfterValidator(addresses.address)]
AliasAddress = Annotated[str, AfterValidator(addresses.alias_address)]
Goto = Annotated[
    tuple[str, ...],
    BeforeValidator(_goto, json_schema_input_type=str | list[str]),
    Field(description="1 to 1000 addresses, separated by commas, or an array of them"),
]
Description = Annotated[str, Field(max_length=1000), AfterValidator(_free_text("\n\t"))]
DisplayName = Annotated[str, Field(max_length=255), AfterValidator(_free_text(""))]
KeyName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_free_text(""))]
DomainNames = Annotated[list[DomainName], Field(max_length=1000), AfterValidator(_unique)]
Networks = Annotated[list[str], Field(max_length=100), AfterValidator(_networks)]
Expires = Annotated[str | None, AfterValidator(_expires)]
Secret = Annotated[str, Field(max_length=1000)]
HostName = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
LogIn = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_free_text(""))]
RemotePassword = Annotated[
    str, Field(min_length=1, max_length=1000), AfterValidator(_free_text(""))
]
Interval = Annotated[int, Field(ge=1, le=43800, description="minutes")]
MaxAge = Annotated[int, Field(ge=0, le=36500, description="days, 0 = all")]
Folder = Annotated[str, Field(max_length=200, pattern=r"^[^*%.~\\\"]*$"), AfterValidator(_folder)]
Pattern = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_free_text(""))]
Patterns = Annotated[
    list[Pattern],
    Field(max_length=100, description="* is any text, % any text without /"),
    AfterValidator(_unique),
]
ReadOnly = Annotated[Any, Field(description="read-only: leave it out or repeat it as it is")]
