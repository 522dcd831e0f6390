"""The engine's configuration, mbsync(1): one channel a folder, between the relay and `near`.

    channels = list(channels(folders, subfolder2, memory))
    text(relay, near, channels, delete2)

The engine knows each folder only by an alias, on both sides; relay and near put its names in their
place, reading along, so nothing is compressed. What a remote side calls its folders is not in the
configuration, and it is the same to mbsync 1.4, which takes names in modified UTF-7, and to 1.5,
which takes UTF-8.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .gate import USER, Gate
from .listing import Folder
from .memory import Memory
from .names import encode

LENGTH: Final = 200  # octets of a name here: it is part of a directory's name, which may have 255
CONFIG: Final = """\
Create Near
Remove None
Expunge None
CopyArrivalDate yes
FSync yes

IMAPStore far
Host 127.0.0.1
Port {far.port}
User {user}
Pass "{far.word}"
SSLType None
AuthMechs LOGIN
UseNamespace no
DisableExtension COMPRESS=DEFLATE
Timeout 120

IMAPStore near
Host 127.0.0.1
Port {near.port}
User {user}
Pass "{near.word}"
SSLType None
AuthMechs LOGIN
UseNamespace no
DisableExtension COMPRESS=DEFLATE
Timeout 120
"""
CHANNEL: Final = """
Channel c{number}
Far ":far:{alias}"
Near ":near:{alias}"
Sync {sync}
SyncState "{directory}/"
"""


@dataclass(frozen=True, slots=True)
class Channel:
    """A folder, its name here in Unicode, and the file in which the engine remembers it."""

    folder: Folder
    near: str
    state: Path

    @property
    def alias(self) -> str:
        return self.state.name


def text(far: Gate, near: Gate, channels: Sequence[Channel], delete2: bool) -> str:
    """It holds the words of both gates."""
    parts = (
        CHANNEL.format(
            number=number,
            alias=channel.alias,
            sync="Pull New Flags" + (" Delete" if delete2 else ""),
            directory=channel.state.parent,
        )
        for number, channel in enumerate(channels, 1)
    )
    return CONFIG.format(far=far, near=near, user=USER) + "".join(parts)


def channels(folders: Sequence[Folder], under: str, memory: Memory) -> Iterator[Channel]:
    """Below the folder `under`, if it is named."""
    names = memory.names()
    for folder in folders:
        near = names.setdefault(folder.wire, near_name(folder, under, names.values()))
        yield Channel(folder, near, memory.file(folder.wire, near))
    memory.keep_names(names)


def near_name(folder: Folder, under: str, taken: Collection[str]) -> str:
    """A new folder's name here: below `under`; no dots, which part the levels of Dovecot's names.

    Names that were `taken` once stay so, whichever folders the source lists, and in which order.
    """
    name = re.sub(r"[.~]", "_", folder.name)
    near = "INBOX" if name.upper() == "INBOX" and not under else name
    near = f"{under}/{near}" if under else near
    if near in taken:
        near += "_" + hashlib.sha256(folder.wire.encode()).hexdigest()[:6]
    return near


def usable(folder: Folder, under: str = "") -> bool:
    """A name that a command and a mailbox can hold."""
    fits = len(encode(f"{under}/{folder.name}")) <= LENGTH
    return folder.plain and fits and all(folder.levels)
