"""What `mailapi init` changed, and what was there before: /var/lib/mailapi-init.

    journal = Journal(host)
    journal.record(entry, data)     on disk, with a copy of what was there, before the change
    journal.entries()               the oldest first
    journal.close()                 nothing was ever done here

`journal` is a file of JSON lines, only ever appended to; `copies/N` is what the entry N found. A
line that a crash cut off stands for nothing: what it would have told was not begun. The directory
is root's alone, because a copy may be one of shadow(5).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from ..errors import InitFailed
from .host import ABSENT, Host, Image

HOME: Final = Path("/var/lib/mailapi-init")


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. `kind` is file, directory, link, user, or a mark of how far it came.

    `name` is the path, or the user, or what the mark says; `note` what the kind needs besides.
    """

    kind: str
    name: str
    before: Image = ABSENT
    after: Image = ABSENT
    note: dict[str, Any] = field(default_factory=dict)
    copy: int = 0  # the number of the copy, 0: there is none

    @property
    def path(self) -> Path:
        return Path(self.name)


class Journal:
    def __init__(self, host: Host) -> None:
        self.host = host
        self._file = HOME / "journal"

    @property
    def open(self) -> bool:
        """Something was begun, and not taken back."""
        return self.host.image(self._file).kind == "file"

    def entries(self) -> list[Entry]:
        """Raise `InitFailed` if a line cannot be read that no crash can explain."""
        lines = self.host.text(self._file).split("\n")[:-1]
        try:
            return [_entry(json.loads(line)) for line in lines]
        except (ValueError, KeyError, TypeError):
            raise InitFailed(
                "The journal of mailapi init is damaged; its directory is mailapi-init in /var/lib."
            ) from None

    def record(self, entry: Entry, data: bytes | None = None) -> None:
        """`data` is what a file held before."""
        self._prepare()
        number = 0
        if data is not None:
            number = len(self.entries()) + 1
            self.host.write(self.copy(number), data, 0o600, os.geteuid(), os.getegid())
        self._append(json.dumps(asdict(entry) | {"copy": number}))

    def mark(self, name: str, **note: Any) -> None:
        """Say how far it came; `marks` tells."""
        self.record(Entry("mark", name, note=note))

    def marks(self) -> dict[str, dict[str, Any]]:
        """The last of each name."""
        return {entry.name: entry.note for entry in self.entries() if entry.kind == "mark"}

    def copy(self, number: int) -> Path:
        return HOME / "copies" / str(number)

    def close(self) -> None:
        """The journal first: without it the copies mean nothing."""
        self.host.remove(self._file)
        self.host.remove_directory(HOME, everything=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One `init` at a time. Raise `InitFailed`."""
        directory = self.host.real(HOME.parent)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise InitFailed("Another mailapi init is running; wait for it.") from None
        finally:
            os.close(fd)

    def _prepare(self) -> None:
        if self.open:
            return
        self.host.remove_directory(HOME, everything=True)  # what a crash left of a former one
        for directory in (HOME, HOME / "copies"):
            self.host.make_directory(directory, 0o700, os.geteuid(), os.getegid())

    def _append(self, line: str) -> None:
        fd = os.open(self.host.real(self._file), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "r+b") as stream:
            whole = stream.read()
            stream.seek(whole.rfind(b"\n") + 1)
            stream.truncate()  # a line that a crash cut off
            stream.write(f"{line}\n".encode())
            stream.flush()
            os.fsync(fd)
        self.host.sync(HOME)


def _entry(values: dict[str, Any]) -> Entry:
    before, after = Image(**values.pop("before")), Image(**values.pop("after"))
    return Entry(before=before, after=after, **values)
