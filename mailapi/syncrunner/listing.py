"""The folders of a remote side, with the number and size of the messages in each.

    found = await folders(session, ["Junk*"])   # all that can be opened, in the server's order

NAMESPACE (RFC 2342) tells what stands before all names, STATUS=SIZE (RFC 8438) sizes. Numbers come
with the list (LIST-STATUS, RFC 5819), or else from STATUS commands that are sent many at a time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from .faults import SyncFault
from .imap import QUOTED, Session, quoted, unquoted
from .names import Patterns, decode

MOST: Final = 10_000  # folders
LENGTH: Final = 400  # octets of a name there; more than 1000 would end the engine
SHOWN: Final = 1000  # characters of a name that are told
TOP: Final = 10**15  # of messages or octets; nothing real is more
GROUP: Final = 100  # STATUS commands at a time
_LIST = re.compile(
    rb'\* LIST \(([^)]*)\) (NIL|"(?:\\.|[^"\\]){0,9}") (?:(%b)|(.*))' % QUOTED,
    re.IGNORECASE | re.DOTALL,
)
_STATUS = re.compile(rb"\* STATUS (%b|\S+) \(([^)]*)\)" % QUOTED, re.IGNORECASE | re.DOTALL)
_PERSONAL = re.compile(rb"\* NAMESPACE \(\((%b)" % QUOTED, re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(rb"\b(MESSAGES|SIZE) (\d{1,20})", re.IGNORECASE)
_CLOSED = re.compile(rb"\\(Noselect|NonExistent)", re.IGNORECASE)
_SEPARATOR = re.compile(r"[\x21-\x7e]?")


@dataclass(frozen=True, slots=True)
class Folder:
    """`wire` is its name as the server writes it, with `separator`s.

    `name` is in Unicode, with /, and without what a server puts before all names, as `INBOX.`.
    """

    wire: str
    separator: str
    name: str
    messages: int
    bytes: int | None
    excluded: bool = False

    @property
    def levels(self) -> list[str]:
        return self.wire.split(self.separator) if self.separator else [self.wire]

    @property
    def plain(self) -> bool:
        """Its name and separator are such as the engine can have."""
        return plain(self.wire) and _SEPARATOR.fullmatch(self.separator) is not None


def plain(wire: str) -> bool:
    return wire.isprintable() and len(wire.encode()) <= LENGTH


async def folders(session: Session, exclude: Iterable[str]) -> list[Folder]:
    """Those of `exclude` are marked. Raise `SyncFault`, also for more than `MOST`."""
    prefix = await _prefix(session)
    items = b"(MESSAGES SIZE)" if "STATUS=SIZE" in session.capabilities else b"(MESSAGES)"
    with_status = "LIST-STATUS" in session.capabilities
    wanted = b" RETURN (STATUS " + items + b")" if with_status else b""
    answer = await session.ask(b'LIST "" "*"' + wanted)
    if not answer.ok:
        raise SyncFault("listing_failed")
    listed = dict(filter(None, map(_listed, answer.lines)))
    if len(listed) > MOST:
        raise SyncFault("too_much")
    counts = _counts(answer.lines)
    if not with_status:
        counts = await _asked(session, [wire for wire in listed if plain(wire)], items)
    patterns = Patterns(exclude)
    found = []
    for wire, separator in listed.items():
        name = _name(wire, separator, prefix)
        sizes = counts.get(wire, (0, None))
        found.append(Folder(wire, separator, name, *sizes, patterns.match(name)))
        await asyncio.sleep(0)  # others go on meanwhile
    return found


async def _prefix(session: Session) -> str:
    """Before the names of the user's own folders, all but INBOX itself."""
    if "NAMESPACE" not in session.capabilities:
        return ""
    lines = (await session.ask(b"NAMESPACE")).lines
    found = next(filter(None, map(_PERSONAL.match, lines)), None)
    return unquoted(found[1]) if found else ""


async def _asked(
    session: Session, wires: Sequence[str], items: bytes
) -> dict[str, tuple[int, int | None]]:
    """Answers name the folder, so it does not matter in which order they come."""
    found: dict[str, tuple[int, int | None]] = {}
    for start in range(0, len(wires), GROUP):
        group = wires[start : start + GROUP]
        answer = await session.ask(*(b"STATUS " + quoted(wire) + b" " + items for wire in group))
        counts = _counts(answer.lines)
        found |= {wire: counts[wire] for wire in group if wire in counts}
    return found


def _counts(lines: Iterable[bytes]) -> dict[str, tuple[int, int | None]]:
    """Messages, and octets where they are told."""
    found: dict[str, tuple[int, int | None]] = {}
    for status in filter(None, map(_STATUS.match, lines)):
        numbers = {key.upper(): min(int(n), TOP) for key, n in _NUMBER.findall(status[2])}
        found[_mailbox(status[1])] = numbers.get(b"MESSAGES", 0), numbers.get(b"SIZE")
    return found


def _listed(line: bytes) -> tuple[str, str] | None:
    """`wire` and `separator` of a folder; None for what cannot be opened."""
    found = _LIST.match(line)
    if found is None or _CLOSED.search(found[1]):
        return None
    wire = _mailbox(found[3] or found[4])
    return wire, "" if found[2].upper() == b"NIL" else unquoted(found[2])


def _mailbox(text: bytes) -> str:
    """INBOX is one, however it is written."""
    wire = unquoted(text)
    return "INBOX" if wire.upper() == "INBOX" else wire


def _name(wire: str, separator: str, prefix: str) -> str:
    """Without the prefix, but where INBOX itself would be left."""
    short = wire.removeprefix(prefix)
    name = wire if short.upper() in ("", "INBOX") else short
    levels = name.split(separator) if separator else [name]
    return "/".join(decode(level).replace("/", "_") for level in levels)[:SHOWN]
