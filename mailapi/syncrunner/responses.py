r"""FETCH responses, before the engine sees them (RFC 3501, sections 4.3 and 7.4.2).

    unmarked(b"* 1 FETCH (FLAGS (\\Seen \\Deleted) UID 3)\r\n")     # without \Deleted
    body(b"* 1 FETCH (UID 3 BODY[] NIL)\r\n")                       # -> Body
    padding(b"Subject: one\r\n")                                    # what ends its header

mbsync(1) neither takes a message whose header does not end, nor a body that is NIL or quoted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LITERAL: Final = re.compile(rb"\{(\d+)(\+?)\}\r\n$")
_DELETED = re.compile(rb"(FLAGS \([^()]*?)\\Deleted\b ?", re.IGNORECASE)
_BODY = re.compile(rb'BODY\[\] (?:\{(\d+)\}\r\n$|"((?:[^"\\]|\\.)*)"|NIL(?=[ )]))', re.IGNORECASE)
_HEADER = re.compile(rb"(?:\A|\n)\r*\n")


@dataclass(frozen=True, slots=True)
class Body:
    """`before` it and `after` it on its line; either `size` or `text` is known, or it is NIL."""

    before: bytes
    after: bytes
    size: int | None
    text: bytes | None


def unmarked(line: bytes) -> bytes:
    return _DELETED.sub(rb"\1", line)


def body(line: bytes) -> Body | None:
    found = _BODY.search(line)
    if found is None:
        return None
    size = int(found[1]) if found[1] else None
    text = None if found[2] is None else re.sub(rb"\\(.)", rb"\1", found[2])
    return Body(line[: found.start()], line[found.end() :], size, text)


def ends(text: bytes) -> bool:
    """Whether the header does; it is followed by a line with nothing."""
    return _HEADER.search(text) is not None


def padding(message: bytes) -> bytes:
    """What a message lacks whose header does not end."""
    if ends(message):
        return b""
    return b"\r\n" if not message or message.endswith(b"\n") else b"\r\n\r\n"
