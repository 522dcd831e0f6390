"""The grammar and the normal form of domains and mail addresses; pure functions.

Each function takes text as a client sent it and returns its normal form, or raises `ValueError`
with a message that says what the text must be and never repeats it. Nothing else is raised,
whatever the text. Every function accepts its own result and returns it unchanged, so that two
texts name the same thing exactly if their normal forms are equal. Every result passes
`is_normal_token`: it holds nothing that has a meaning in a Postfix table or a passwd-file.

Domains are in lower-case A-label form (IDNA 2008, RFC 5890-5893), after the mapping of case and
width of UTS #46, non-transitional. Local parts of our own addresses are in lower case; those of
alias targets keep their case, because only the receiving host knows whether it matters (RFC 5321,
section 2.4).

The dot-atom of RFC 5322 is one regular expression here. email-validator would take it too, but it
repeats the refused text in its messages, normalises Unicode, and refuses the special-use domains
(test, example, local) that private hosts and tests use.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import idna

MAX_LOCAL_PART: Final = 64  # octets, RFC 5321 section 4.5.3.1.1
MAX_ADDRESS: Final = 254  # octets, RFC 5321 section 4.5.3.1.3 without the angle brackets
MAX_DOMAIN: Final = 253  # octets, RFC 1035 section 3.1 without the root
MAX_TARGETS: Final = 1000
_MAX_TYPED: Final = 4 * MAX_DOMAIN  # characters: decomposed accents make a name longer than it is

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_LOCAL_PART = re.compile(r"[a-z0-9_'-]+(?:\.[a-z0-9_'-]+)*")
_ALIAS_LOCAL_PART = re.compile(r"[a-z0-9_'+-]+(?:\.[a-z0-9_'+-]+)*")
_ATEXT = r"A-Za-z0-9!#$&'*+/=?^_`{|}~-"  # RFC 5322 section 3.2.3, without %
_DOT_ATOM = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*")
_TOKEN = re.compile(rf"[@.{_ATEXT}]{{1,320}}")

_JOINERS = "\u200c\u200d"  # format characters that IDNA 2008 allows in some scripts (RFC 5892 A)

_BAD_DOMAIN = (
    "must be a domain name like example.com: at least two labels of letters, digits and inner "
    "hyphens, 253 octets at most, the last not all digits, no dot at the end"
)
_BAD_HOSTED = "must be a domain other than this host's own name and names that begin with localhost"
_BAD_LOCAL_PART = (
    "must be 1 to 64 of the characters a-z 0-9 _ ' - and single inner dots, "
    "at least one of them a letter or digit"
)
_BAD_ALIAS_LOCAL_PART = (
    "must be 1 to 64 of the characters a-z 0-9 _ ' - + and single inner dots, "
    "at least one of them a letter or digit"
)
_BAD_ADDRESS = "must be an address like user@example.com, 254 octets at most"
_BAD_ALIAS = "must be an address like user@example.com, or @example.com for a catch-all"
_BAD_TARGET = (
    "must be a full address like user@example.com, 254 octets at most: no quotes, comments, "
    "commands, files, per cent signs or addresses in brackets"
)
_BAD_COUNT = f"must be 1 to {MAX_TARGETS} addresses, separated by single commas"


def domain(text: str) -> str:
    """The normal form of a domain name; raises ValueError."""
    name = text.lower() if text.isascii() else ""
    if not name or "--" in name:  # an A-label, a reserved one, or a U-label: RFC 5890 2.3.1
        name = _to_a_labels(text)
    top = name.rpartition(".")[2]
    if len(name) > MAX_DOMAIN or not _DOMAIN.fullmatch(name) or top.isdigit():
        raise ValueError(_BAD_DOMAIN)
    return name


def hosted_domain(text: str, hostname: str) -> str:
    """The normal form of a domain that may be hosted here; raises ValueError.

    `hostname` is the host's own name: its mail belongs to the system's accounts. Names that begin
    with localhost, or that end in a label that does, stand for this machine in many programs.
    """
    name = domain(text)
    top = name.rpartition(".")[2]
    if name == _own(hostname) or name.startswith("localhost") or top.startswith("localhost"):
        raise ValueError(_BAD_HOSTED)
    return name


def local_part(text: str) -> str:
    """The normal form of a mailbox's local part, in lower case; raises ValueError."""
    return _folded(text, _LOCAL_PART, _BAD_LOCAL_PART)


def alias_local_part(text: str) -> str:
    """The normal form of an alias's local part: a mailbox's, with + allowed; raises ValueError."""
    return _folded(text, _ALIAS_LOCAL_PART, _BAD_ALIAS_LOCAL_PART)


def address(text: str) -> str:
    """The normal form of a mailbox's address; raises ValueError."""
    local, host = _halves(text, _BAD_ADDRESS)
    return _joined(local_part(local), domain(host), _BAD_ADDRESS)


def alias_address(text: str) -> str:
    """The normal form of an alias's address, `local@domain` or `@domain`; raises ValueError."""
    if text.startswith("@"):
        return _joined("", domain(text[1:]), _BAD_ALIAS)
    local, host = _halves(text, _BAD_ALIAS)
    return _joined(alias_local_part(local), domain(host), _BAD_ALIAS)


def target(text: str) -> str:
    """The normal form of an alias target: an RFC 5322 dot-atom without %, @, a domain name.

    The local part keeps its case. Raises ValueError.
    """
    local, host = _halves(text, _BAD_TARGET)
    if len(local) > MAX_LOCAL_PART or not _DOT_ATOM.fullmatch(local):
        raise ValueError(_BAD_TARGET)
    try:
        return _joined(local, domain(host), _BAD_TARGET)
    except ValueError:
        raise ValueError(_BAD_TARGET) from None


def targets(value: str | list[str]) -> tuple[str, ...]:
    """1 to 1000 alias targets in the order given, duplicates dropped; raises ValueError.

    `value` is one text separated by commas, with blanks and tabs around the addresses allowed, or
    a list with one address an element. The message of a bad address tells its number, from 1.
    """
    parts = value.split(",") if isinstance(value, str) else value
    found: dict[str, None] = {}
    for number, part in enumerate(parts, start=1):
        try:
            found[target(part.strip(" \t"))] = None
        except ValueError as exc:
            raise ValueError(f"{exc} (see address number {number})") from None
        if len(found) > MAX_TARGETS:
            raise ValueError(_BAD_COUNT)
    if not found:
        raise ValueError(_BAD_COUNT)
    return tuple(found)


def split(address: str) -> tuple[str, str]:
    """The local part and the domain of an address in normal form; `@domain` has an empty one."""
    local, _, host = address.rpartition("@")
    return local, host


def base(address: str) -> str:
    """The address without its `+tag`; a local part that begins with + has none, as in Postfix."""
    local, host = split(address)
    head = local.partition("+")[0]
    return f"{head or local}@{host}"


def display(domain: str) -> str:
    """The U-label form of a domain in normal form, for people to read; `domain` takes it back."""
    if "xn--" not in domain:
        return domain
    try:
        return idna.decode(domain)
    except (UnicodeError, IndexError):
        return domain


def is_normal_token(text: str) -> bool:
    """Whether the text may stand as a key or value in a rendered file.

    True for 1 to 320 ASCII letters, digits, dots, @ and the other signs of a dot-atom: nothing
    that separates, quotes, comments, or ends a field or a line.
    """
    return _TOKEN.fullmatch(text) is not None


def _to_a_labels(text: str) -> str:
    """The name in A-labels, each valid and equal to its U-label; "" if it cannot be one."""
    if len(text) > _MAX_TYPED or any(_unseen(char) for char in text):
        return ""
    try:
        name = idna.encode(text, uts46=True, std3_rules=True).decode().lower()
        return name if idna.encode(idna.decode(name)).decode() == name else ""
    except (UnicodeError, IndexError):  # idna's errors repeat the text
        return ""


def _unseen(char: str) -> bool:
    """Control, format and unassigned characters and blanks: UTS #46 would drop some silently."""
    return unicodedata.category(char)[0] in "CZ" and char not in _JOINERS


def _folded(text: str, grammar: re.Pattern[str], message: str) -> str:
    """Lower case, but only of ASCII: the Kelvin sign would become a k."""
    folded = text.lower() if text.isascii() and len(text) <= MAX_LOCAL_PART else ""
    if not grammar.fullmatch(folded) or not any(char.isalnum() for char in folded):
        raise ValueError(message)
    return folded


def _halves(text: str, message: str) -> tuple[str, str]:
    local, at, host = text.rpartition("@")
    if not at:
        raise ValueError(message)
    return local, host


def _joined(local: str, host: str, message: str) -> str:
    joined = f"{local}@{host}"
    if len(joined) > MAX_ADDRESS:
        raise ValueError(message)
    return joined


def _own(hostname: str) -> str:
    """The host's name in normal form; one label, as on a host without a domain, stays as it is."""
    try:
        return domain(hostname)
    except ValueError:
        return hostname.lower()
