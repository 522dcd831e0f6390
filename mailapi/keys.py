"""The text of an API key: `mapi_`, 256 random bits, and a checksum.

The 43 digits after the prefix are the bits in base62, filled up with zeros on the left; the last
six are the CRC-32 of all that precedes them, in base62 too. The prefix lets secret scanners find
a lost key, the checksum tells a mistyped key from an unknown one without asking the database.
Only the digest of a key is ever stored; with 256 random bits it needs neither salt nor stretching.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from typing import Final

PREFIX: Final = "mapi_"
_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH: Final = 43  # 62**43 > 2**256 > 62**42
_CHECK_LENGTH: Final = 6  # 62**6 > 2**32 > 62**5
_FORM = re.compile(rf"({PREFIX}[0-9A-Za-z]{{{_RANDOM_LENGTH}}})([0-9A-Za-z]{{{_CHECK_LENGTH}}})")


def new() -> str:
    """A new key, 54 characters."""
    text = PREFIX + _base62(secrets.randbits(256), _RANDOM_LENGTH)
    return text + _checksum(text)


def digest(key: str) -> bytes:
    """The SHA-256 of a key, 32 octets; defined for any text."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def well_formed(key: str) -> bool:
    """Whether a text looks like a key and its checksum is right; False for any other text."""
    found = _FORM.fullmatch(key)
    return found is not None and _checksum(found[1]) == found[2]


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode("ascii")), _CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
