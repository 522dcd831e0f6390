"""Messages on their way to the store: many APPENDs as one (RFC 3502), and its answer for each.

group = taken_together(waiting)         # from the front: of one folder, not too many
command(b"N1", group)                   # what to send
answers(group, b"OK [APPENDUID 7 1:2] done")        # one for each tag (RFC 4315)
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST: Final = 200  # messages of one transaction
SIZE: Final = 8 * 1024 * 1024  # octets of one transaction, and of what waits
APPEND: Final = re.compile(
    rb'(\S+) (APPEND (?:"(?:\\.|[^"\\])*"|\S+))( .*)\{(\d+)(\+?)\}\r\n', re.DOTALL
)
_UIDS = re.compile(rb"\[APPENDUID (\d+) ([\d:,]+)\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Append:
    """A message to store: `box` is the command with the folder, `how` its flags and date."""

    tag: bytes
    box: bytes
    how: bytes
    data: bytes


def taken_together(waiting: deque[Append]) -> list[Append]:
    group = [waiting.popleft()]
    size = len(group[0].data)
    while waiting and waiting[0].box == group[0].box and len(group) < MOST:
        size += len(waiting[0].data)
        if size > SIZE:
            break
        group.append(waiting.popleft())
    return group


def command(tag: bytes, group: Sequence[Append]) -> list[bytes]:
    parts = [tag, b" ", group[0].box]
    for one in group:
        parts += [one.how, b"{%d+}\r\n" % len(one.data), one.data]
    return [*parts, b"\r\n"]


def answers(group: Sequence[Append], answer: bytes) -> list[bytes]:
    """One for each; with its UID, if the program told them."""
    found = _UIDS.search(answer)
    if not found or len(group) == 1:
        return [one.tag + b" " + answer for one in group]
    uids = _numbers(found[2])
    return [
        b"%s OK [APPENDUID %s %d] done\r\n" % (one.tag, found[1], uid)
        for one, uid in zip(group, uids, strict=True)
    ]


def _numbers(text: bytes) -> list[int]:
    """All of a set of numbers (RFC 3501, sequence-set) that says nothing of *."""
    numbers: list[int] = []
    for part in text.split(b","):
        first, _, last = part.partition(b":")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
