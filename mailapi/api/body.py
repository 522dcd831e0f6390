"""Request bodies: strict JSON (RFC 8259, I-JSON of RFC 7493) in UTF-8.

`parse` takes every body that has one meaning and refuses the others: repeated names, numbers that
no column can hold, NaN and Infinity, halves of surrogate pairs, a byte order mark, more than 32
levels. What it returns can be written as UTF-8 and walked without deep recursion.

Raises `Malformed` or `UnsupportedMediaType`; the messages say where or what, but repeat nothing.
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import Final, NoReturn

from mailapi.errors import Malformed, UnsupportedMediaType

MAX_DEPTH: Final = 32
_INTEGERS: Final = range(-(2**63), 2**63)  # SQLite's
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # a token of RFC 9110 section 5.6.2
_MEDIA_TYPE = re.compile(rf"[ \t]*application/(?:{_NAME}\+)?json[ \t]*", re.IGNORECASE)
_PARAMETER = re.compile(rf';[ \t]*(?:({_NAME})=({_NAME}|"(?:[^"\\]|\\.)*"))?[ \t]*')
_CHARSETS: Final = ("utf-8", "utf8")


def parse(raw: bytes, content_type: str) -> object:
    """The value of a JSON body; `content_type` is the header's value, "" if there was none."""
    _check_content_type(content_type)
    text = _text(raw)
    try:
        value: object = _DECODER.decode(text)
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        raise Malformed(f"The request body is not valid JSON; see {where}.") from None
    except RecursionError:
        _refuse_depth()
    if text.count("{") + text.count("[") > MAX_DEPTH:
        _check_depth(value)
    if "\\u" in text:
        _check_surrogates(value)
    return value


def _text(raw: bytes) -> str:
    if not raw:
        raise Malformed("The request body is empty; send JSON.")
    if raw.startswith(b"\xef\xbb\xbf"):
        raise Malformed("The request body must not begin with a byte order mark.")
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise Malformed(f"The request body is not UTF-8; see octet {exc.start}.") from None


@lru_cache(maxsize=64)
def _check_content_type(value: str) -> None:
    media_type = _MEDIA_TYPE.match(value)
    if not media_type:
        raise UnsupportedMediaType
    end = media_type.end()
    while end < len(value):
        parameter = _PARAMETER.match(value, end)
        if not parameter:
            raise UnsupportedMediaType
        name, text = parameter[1] or "", parameter[2] or ""
        if name.lower() == "charset" and text.strip('"').lower() not in _CHARSETS:
            raise UnsupportedMediaType
        end = parameter.end()


def _check_depth(value: object) -> None:
    """Level by level, so that no depth of the value needs a deep stack here."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for node in level:
            if isinstance(node, dict):
                inner += node.values()
            elif isinstance(node, list):
                inner += node
        level = inner
    if any(isinstance(node, dict | list) for node in level):
        _refuse_depth()


def _check_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Malformed("The request body escapes half of a surrogate pair.") from None


def _refuse_depth() -> NoReturn:
    raise Malformed(f"The request body nests deeper than {MAX_DEPTH} levels.")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("The request body has an object that gives a name twice.")
    return found


def _integer(text: str) -> int:
    if len(text) > 20 or int(text) not in _INTEGERS:  # 19 digits and a sign
        raise Malformed("The request body has an integer that does not fit 64 bits.")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise Malformed("The request body has a number that is too large.")
    return number


def _constant(name: str) -> NoReturn:
    raise Malformed("The request body has NaN or Infinity, which JSON does not know.")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=_constant,
)
