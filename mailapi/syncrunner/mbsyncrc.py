"""The engine's configuration, mbsync(1): one channel a folder, between the relay and `near`.

    channels = list(channels(folders, subfolder2, memory))
    text(relay, near, channels, folders, delete2)

What a remote side calls its folders is quoted, or the folder is not `usable`: it cannot write into
the configuration.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .gate import USER, Gate
from .memory import Memory
from .names import encode
from .remote import Folder

_TOKEN = re.compile(r'["\\]')
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
{delimiter}
Timeout 120

IMAPStore near
Host 127.0.0.1
Port {near.port}
User {user}
Pass "{near.word}"
SSLType None
AuthMechs LOGIN
Timeout 120
"""
CHANNEL: Final = """
Channel c{number}
Far ":far:{far}"
Near ":near:{near}"
Sync {sync}
SyncState "{state}"
"""


@dataclass(frozen=True, slots=True)
class Channel:
    """A folder, its name here in Unicode, and the file in which the engine remembers it."""

    folder: Folder
    near: str
    state: Path


def text(
    far: Gate, near: Gate, channels: Sequence[Channel], folders: Sequence[Folder], delete2: bool
) -> str:
    """It holds the words of both gates."""
    head = CONFIG.format(far=far, near=near, user=USER, delimiter=_delimiter(folders))
    parts = (
        CHANNEL.format(
            number=number,
            far=_escape("/".join(channel.folder.levels)),
            near=_escape(encode(channel.near)),
            sync="Pull New Flags" + (" Delete" if delete2 else ""),
            state=channel.state,
        )
        for number, channel in enumerate(channels, 1)
    )
    return head + "".join(parts)


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


def usable(folder: Folder) -> bool:
    """A name that the configuration can hold."""
    return folder.wire.isprintable() and all(
        level and "/" not in level and level not in (".", "..") for level in folder.levels
    )


def _delimiter(folders: Sequence[Folder]) -> str:
    found = next((folder.separator for folder in folders if folder.separator), "")
    return f'PathDelimiter "{_escape(found)}"' if found else ""


def _escape(text: str) -> str:
    return _TOKEN.sub(r"\\\g<0>", text)
