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
_WILD = re.compile(r"[*%]{2,}")


def decode(name: str) -> str:
    """From what is on the wire to Unicode."""
    try:
        return _SHIFTED.sub(_unshift, name)
    except (binascii.Error, UnicodeDecodeError):
        return name


def encode(name: str) -> str:
    """From Unicode to what is on the wire."""
    return re.sub(r"[^\x20-\x7e]+|&", _shift, name)


class Patterns:
    """All patterns at once, in one step for each character of a name, whatever they are.

    A set of places in the patterns is a number with a bit for each; a place is before a sign of a
    pattern, or behind its last one (Baeza-Yates and Gonnet, "A New Approach to Text Searching",
    CACM 35, 1992).
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._first = self._last = self._text = self._level = 0
        self._signs: dict[str, int] = {}
        place = 1
        for pattern in patterns:
            self._first |= place
            for sign in _WILD.sub(lambda run: "*" if "*" in run[0] else "%", pattern):
                self._add(sign, place)
                place <<= 1
            self._last |= place
            place <<= 1
        self._wild = self._text | self._level

    def _add(self, sign: str, place: int) -> None:
        if sign == "*":
            self._text |= place
        elif sign == "%":
            self._level |= place
        else:
            self._signs[sign] = self._signs.get(sign, 0) | place

    def match(self, name: str) -> bool:
        """Whether one of them is the whole name."""
        at = self._passing(self._first)
        for sign in name:
            stay = at & (self._text if sign == "/" else self._wild)
            at = self._passing(stay | (at & self._signs.get(sign, 0)) << 1)
        return bool(at & self._last)

    def _passing(self, at: int) -> int:
        """* and % may be no text at all; no two of them are side by side."""
        return at | (at & self._wild) << 1


def excluded(name: str, patterns: Iterable[str]) -> bool:
    return Patterns(patterns).match(name)


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
