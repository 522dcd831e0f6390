"""What the fields of requests must be, as far as JSON Schema can say it and pydantic's does not.

The patterns are ECMA-262 without look-around, which not every client knows. Whoever sends what fits
is refused only for what no pattern can tell: the octets of a password, the length of an address
between commas, hyphens where IDNA 2008 has none. They are no wider than `addresses`, and narrower:
domains in U-label form and top labels that begin with a digit are taken though they do not fit.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_TOP: Final = "[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = rf"(?:{_LABEL}\.)+{_TOP}"
_ATEXT: Final = "[A-Za-z0-9!#$&'*+/=?^_`{|}~-]+"  # RFC 5322 section 3.2.3, without %
_TARGET: Final = rf"[ \t]*{_ATEXT}(?:\.{_ATEXT})*@{_DOMAIN}[ \t]*"
_SHORT: Final[Schema] = {"pattern": "^[^@]{0,64}@(?:[^@]*,[^@]{0,64}@)*[^@]*$"}  # the local parts
_CONTROL: Final = r"\x00-\x1f\x7f-\x9f"
_NOT_IN_FOLDER: Final = r"*%.~\\\"/\s" + _CONTROL
_CRYPT: Final = "[./A-Za-z0-9]"
_ROUNDS: Final = r"(?:rounds=(?:[1-9][0-9]{3,5}|1[0-9]{6}|2000000)\$)?"
_ODD: Final = ("[A-Za-z0-9+/][AQgw]", "[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]")  # 1, 2 octets in base64
_FEW: Final = "(?:[1-9]|1[0-6])"
_COST: Final = "m=(?:[2-9][0-9]{2}|[1-9][0-9]{3,4}|1[0-9]{5}|2[0-5][0-9]{4}|262144)"
_BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4: Final = rf"(?:{_BYTE}\.){{3}}{_BYTE}"
_HEX: Final = "[0-9A-Fa-f]{1,4}"
_IPV6: Final = "|".join(  # :: nowhere, at the end, at the beginning, alone, behind n groups
    [f"(?:{_HEX}:){{7}}{_HEX}", f"(?:{_HEX}:){{1,7}}:", f":(?::{_HEX}){{1,7}}", "::"]
    + [f"(?:{_HEX}:){{{n}}}(?::{_HEX}){{1,{7 - n}}}" for n in range(1, 7)]
)


def _base64(least: int, most: int, pad: str = "=") -> str:
    """`least` to `most` groups of three octets, and one or two more octets."""
    tail = f"(?:{_ODD[0]}{pad * 2}|{_ODD[1]}{pad})?"
    return f"(?:[A-Za-z0-9+/]{{4}}){{{least},{most}}}{tail}"


def _local_part(signs: str) -> str:
    """Atoms of letters, digits and signs between single dots, at least one letter or digit."""
    any_ = f"[A-Za-z0-9{signs}]"
    return rf"(?:{any_}+\.)*[{signs}]*[A-Za-z0-9]{any_}*(?:\.{any_}+)*"


_ARGON2: Final = rf"\$v=19\${_COST},t={_FEW},p={_FEW}\${_base64(3, 20, '')}\${_base64(6, 20, '')}"
_HASHES: Final = (
    rf"\{{BLF-CRYPT\}}\$2[aby]\$(?:0[4-9]|1[0-6])\${_CRYPT}{{53}}",
    rf"\{{ARGON2ID\}}\$argon2id{_ARGON2}",
    rf"\{{SHA512-CRYPT\}}\$6\${_ROUNDS}{_CRYPT}{{1,16}}\${_CRYPT}{{86}}",
    rf"\{{SHA256-CRYPT\}}\$5\${_ROUNDS}{_CRYPT}{{1,16}}\${_CRYPT}{{43}}",
    rf"\{{SSHA512\}}{_base64(23, 42)}",
    rf"\{{SSHA256\}}{_base64(12, 31)}",
)
_ADDRESS: Final = _local_part("_'-")
_ALIAS: Final = _local_part("_'+-")
_A_DOMAIN: Final[Schema] = {"type": "string", "pattern": f"^{_DOMAIN}$", "maxLength": 253}
_A_TARGET: Final[Schema] = {
    "type": "string",
    "pattern": f"^{_TARGET}$",
    "maxLength": 254,
    "allOf": [_SHORT],
}

FIELDS: Final[dict[str, Schema]] = {  # a field of this name has these keywords in any request
    "domain": _A_DOMAIN,
    "local_part": {"pattern": f"^{_ADDRESS}$", "minLength": 1, "maxLength": 64},
    "address": {"pattern": f"^(?:{_ALIAS})?@{_DOMAIN}$", "maxLength": 254, "allOf": [_SHORT]},
    "goto": {
        "anyOf": [
            {"type": "string", "pattern": f"^{_TARGET}(?:,{_TARGET})*$", "allOf": [_SHORT]},
            {"type": "array", "minItems": 1, "maxItems": 1000, "items": _A_TARGET},
        ]
    },
    "name": {"pattern": f"^[^{_CONTROL}]*$"},
    "description": {"pattern": r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$"},
    "password": {
        "type": "string",
        "format": "password",
        "description": "8 characters to 72 bytes of UTF-8, not only blanks",
        "pattern": rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$",
        "minLength": 8,
        "maxLength": 72,
    },
    "password_hash": {
        "type": "string",
        "description": "in the exact form of its scheme, with an ordinary cost",
        "pattern": f"^(?:{'|'.join(_HASHES)})$",
        "maxLength": 1000,
    },
    "username": {"type": "string", "pattern": f"^{_ADDRESS}@{_DOMAIN}$", "maxLength": 254},
    "host1": {
        "type": "string",
        "description": "a host's name, or its address",
        "pattern": rf"^(?:{_DOMAIN}|{_TOP}|{_IPV4}|{_IPV6})$",
        "maxLength": 253,
    },
    "port1": {"type": "integer", "minimum": 1, "maximum": 65535},
    "user1": {"pattern": f"^[^{_CONTROL}]*$"},
    "password1": {
        "type": "string",
        "format": "password",
        "pattern": f"^[^{_CONTROL}]*$",
        "minLength": 1,
        "maxLength": 1000,
    },
    "enc1": {"enum": ["SSL", "TLS"], "description": "PLAIN needs [sync] allow_plaintext"},
    "subfolder2": {"pattern": f"^(?:[^{_NOT_IN_FOLDER}]+(?:/[^{_NOT_IN_FOLDER}]+)*)?$"},
    "exclude": {
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "pattern": f"^[^{_CONTROL}]*$",
        }
    },
    "domains": {"items": _A_DOMAIN},
    "allow_from": {
        "items": {
            "type": "string",
            "pattern": rf"^(?:{_IPV4}(?:/(?:[12]?[0-9]|3[0-2]))?"
            rf"|(?:{_IPV6})(?:/(?:[1-9]?[0-9]|1[01][0-9]|12[0-8]))?)$",
        }
    },
    "expires": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
}

# Between the fields of a model. Of one with a bare oneOf, generators of clients see nothing else.
RULES: Final[dict[str, Schema]] = {
    "MailboxAdd": {
        "allOf": [{"oneOf": [{"required": ["password"]}, {"required": ["password_hash"]}]}]
    },
    "MailboxUpdate": {"not": {"required": ["password", "password_hash"]}},
    "KeyAdd": {
        "if": {"properties": {"scope": {"const": "admin"}}},
        "then": {"properties": {"domains": {"maxItems": 0}}},
    },
}
