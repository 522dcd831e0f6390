"""What an engine's end means: a code, and its words without what is secret.

judged(status, said, seen, near)        # one of `faults.RESULTS`
losses(status, seen)                    # what the engine does not tell
strange(said, near, channels)           # channels that it cannot go on with
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from .mbsyncrc import Channel
from .near import Near
from .relay import MOST
from .seen import Seen

LAST: Final = 2000  # characters of what the engine says
OK: Final = "ok"
_LOST = re.compile(r"returned an error|; skipping")
_CHANNEL = re.compile(r"^Error: channel c(\d+)\b(.*)", re.MULTILINE)
_ALIAS = re.compile(r"\b[0-9a-f]{32}\b")
_NOISE = re.compile(
    r"Password is being sent in the clear|stats-writer|Info: Disconnected|^\s*$"
    r"|notice: \w+ is deprecated|^Channels: \d"
)


def judged(status: int, said: str, seen: Seen, near: Near) -> str:
    """The engine's end, as a code."""
    if near.full:
        return "quota_full"
    lost = near.refused or seen.asked != seen.messages or _LOST.search(said)
    if status == 0:  # to mbsync 1.4 a message that is not taken is no failure, to 1.5 it is one
        return "incomplete" if lost else OK
    if seen.hung or "timeout" in said.lower():
        return "timeout"
    if seen.lost:
        return "connection_lost"
    if re.search(r"userdb lookup|User lookup failed|User doesn't exist|tunnel", said):
        return "local_failed"
    partly = status > 0 and (lost or _CHANNEL.search(said))
    return "incomplete" if partly else "engine_failed"


def without(said: str, words: Iterable[str], channels: Iterable[Channel]) -> str:
    """The last lines without what is secret, private or noise; with the names of folders."""
    text = "\n".join(line for line in said.splitlines() if not _NOISE.search(line))
    names = {channel.alias: channel.near for channel in channels}
    text = _ALIAS.sub(lambda found: names.get(found[0], found[0]), text)
    for word in words:
        text = text.replace(word, "…")
    return "".join(c for c in text if c.isprintable() or c == "\n")[-LAST:]


def strange(said: str, near: Near, channels: Sequence[Channel]) -> Iterator[int]:
    """Channels whose folder has been made anew, there or here, or is gone here."""
    for line in said.splitlines():
        found = _CHANNEL.match(line)
        if found is None or not 0 < int(found[1]) <= len(channels):
            continue
        number = int(found[1]) - 1
        gone = "cannot be opened" in found[2]
        if "UIDVALIDITY" in found[2] or (gone and near.opened.lacks(channels[number].alias)):
            yield number


def losses(status: int, seen: Seen) -> str:
    """What the engine does not tell."""
    told = []
    if status < 0:
        told.append(f"The engine ended with signal {-status}.")
    if seen.large:
        told.append(f"Messages above {MOST >> 20} MiB, which are not copied: {seen.large}.")
    if not (seen.lost or seen.hung) and (left := seen.asked - seen.messages - seen.large):
        told.append(f"Messages that the remote side did not give: {left}.")
    return "\n".join(told)
