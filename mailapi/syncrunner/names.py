"""Names of folders: modified UTF-7 (RFC 3501, section 5.1.3), and the patterns of `exclude`.

decode("Entw&APw-rfe") == "Entwürfe"    # as it is, where it is no modified UTF-7
excluded("Junk/2020", ["Junk*"])        # * is any text, % any text without /
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

_SHIFTED = re.compile(r"&([A-Za-z0-9+,]*)-")


def decode(name: str) -> str:
    """From what is on the wire to Unicode."""
    try:
        return _SHIFTED.sub(_unshift, name)
    except (binascii.Error, UnicodeDecodeError):
        return name


def encode(name: str) -> str:
    """From Unicode to what is on the wire."""
    return re.sub(r"[^\x20-\x7e]+|&", _shift, name)


def quoted(name: str) -> bytes:
    """As a command has it (RFC 3501, `quoted`)."""
    return b'"' + re.sub(r'(["\\])', r"\\\1", name).encode() + b'"'


def excluded(name: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(_expression(pattern), name, re.DOTALL) for pattern in patterns)


def _expression(pattern: str) -> str:
    signs = {"*": ".*", "%": "[^/]*"}
    return "".join(signs.get(sign, re.escape(sign)) for sign in pattern)


def _unshift(found: re.Match[str]) -> str:
    if not found[1]:
        return "&"
    text = found[1].replace(",", "/")
    return base64.b64decode(text + "=" * (-len(text) % 4)).decode("utf-16-be")


def _shift(found: re.Match[str]) -> str:
    if found[0] == "&":
        return "&-"
    text = base64.b64encode(found[0].encode("utf-16-be")).decode().rstrip("=")
    return f"&{text.replace('/', ',')}-"
