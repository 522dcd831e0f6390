"""The rendered files on disk: text for Dovecot and for people, maps for Postfix.

`load` makes a whole state the content of all files, `publish` applies edits to them. Both return
what changed, by file: the lines, or nothing for a file that was written whole. A file whose bytes
stay the same is not written. If one raises `PublishFailed`, nothing is taken for granted about the
disk any more: the next call of either compares every file with what it should be, makes missing
directories, and returns what had changed before the failure, too.

The order is such that no moment exists in which a domain is accepted and its users are unknown:
`FILES` in their order, with Dovecot's users first and the domains last. Where a change only takes
lines away it is the other way round.

When the set of domains has changed, `smtpd_renew`, an empty map that every smtpd(8) has open, is
replaced: an idle smtpd ends before its next session, because one of its maps was unlinked, and
with it ends its memory of addresses that it refused for an unknown domain. After a failure, and
after a start, that is done in any case: who wrote the domains may not have come so far.

All calls block; one at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from . import files
from .entries import DOMAIN_FILES, FILES, USERS, File
from .errors import PublishFailed, ShrunkenMap
from .lmdbmap import LmdbMap
from .text import Text

Edits = Mapping[bytes, bytes | None]  # key -> line with its newline, None = no line
Changed = dict[str, dict[bytes, bytes | None]]

RENEW: Final = "smtpd_renew"
FEW: Final = 10  # entries; a file that had no more may lose them all
_DOMAINS: Final = {file.name for file in DOMAIN_FILES}


class Publisher:
    """`map_type` is "lmdb" or "texthash"; the directories are made where they are missing."""

    def __init__(self, postfix: Path, dovecot: Path, map_type: str) -> None:
        self._directories = {"postfix": postfix, "dovecot": dovecot}
        self._files = {
            file.name: _Rendered(file, self._directories[file.server], map_type) for file in FILES
        }
        self._renew = LmdbMap(postfix / RENEW) if map_type == "lmdb" else None
        self._behind = True
        self._changed: Changed = {}

    def check(self, wished: Mapping[str, bytes]) -> None:
        """Raise `ShrunkenMap` if a file of more than ten entries would lose more than half."""
        for name, data in wished.items():
            had, has = self._files[name].lines_on_disk(), data.count(b"\n")
            if had > FEW and has < had / 2:
                raise ShrunkenMap(
                    f"{name} would shrink from {had} to {has} entries: the database may be another "
                    "one or damaged; check [state] directory, or start with serve --force."
                )

    def load(self, wished: Mapping[str, bytes]) -> Changed:
        """Make `wished`, the text of every file, their content. Raise `PublishFailed`."""
        for name, data in wished.items():
            self._files[name].load(data)
        self._behind = True
        return self._flush(FILES)

    def publish(self, edits: Mapping[str, Edits]) -> Changed:
        """Apply the edits of each file. Raise `PublishFailed`."""
        for name, lines in edits.items():
            self._files[name].edit(lines)
        return self._flush(FILES if self._behind else _order(edits))

    def close(self) -> None:
        for rendered in self._files.values():
            rendered.close()
        if self._renew is not None:
            self._renew.close()

    def _make_directories(self) -> None:
        for directory in self._directories.values():
            try:
                directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            except OSError as error:
                raise PublishFailed(
                    "The directory of a mail server's files cannot be made; make it, writable for "
                    "the service's user."
                ) from error

    def _flush(self, order: Iterable[File]) -> Changed:
        behind, self._behind = self._behind, True  # until all of it has worked
        if behind:
            self._make_directories()
        for file in order:
            lines = self._files[file.name].flush(anew=behind)
            if lines is not None:
                self._changed.setdefault(file.name, {}).update(lines)
        if self._renew is not None and (behind or self._changed.keys() & _DOMAINS):
            self._renew.renew()
        self._behind = False
        changed, self._changed = self._changed, {}
        return changed


class _Rendered:
    """One file: its wished text, and which of its lines may not be on disk yet."""

    def __init__(self, file: File, directory: Path, map_type: str) -> None:
        self._path = directory / file.name
        self._is_users = file is USERS
        self._map = None if self._is_users or map_type != "lmdb" else LmdbMap(self._path)
        self.text = Text(file.separator)
        self._missing: dict[bytes, bytes | None] = {}
        self._doubt = False  # something may have been written before a failure

    def lines_on_disk(self) -> int:
        """The entries of the text or of the map, whichever has more."""
        found = 0
        with contextlib.suppress(PublishFailed):
            found = self._map.count() if self._map is not None else 0
        return max(found, (self._on_disk() or b"").count(b"\n"))

    def load(self, data: bytes) -> None:
        self.text.data = data
        self._missing.clear()

    def edit(self, edits: Edits) -> None:
        self._missing |= self.text.edit(edits)

    def flush(self, anew: bool) -> dict[bytes, bytes | None] | None:
        """Bring the disk to the wished text; the lines that were missing, None if nothing was.

        `anew`: whatever is on disk; otherwise it is what the last flush left there.
        """
        if not self._missing and not anew:
            return None
        doubt, self._doubt = self._doubt, True  # until all of it has worked
        written = self._write_map(anew) | self._write_text(anew)
        lines, self._missing = self._missing, {}
        self._doubt = False
        return lines if written or doubt else None

    def close(self) -> None:
        if self._map is not None:
            self._map.close()

    def _write_map(self, anew: bool) -> bool:
        if self._map is None:
            return False
        if anew:
            return any(self._map.sync(dict(self.text.entries())))
        puts, gone = {}, []
        for key, line in self._missing.items():
            if line is None:
                gone.append(key)
            else:
                puts[key] = line[len(key) + 1 : -1]
        self._map.update(puts, gone)
        return True

    def _write_text(self, anew: bool) -> bool:
        if anew and self._on_disk() == self.text.data:
            return False
        files.write(self._path, self.text.data, new_mtime=self._is_users)
        return True

    def _on_disk(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except OSError:
            return None


def _order(edits: Mapping[str, Edits]) -> list[File]:
    first = [file for file in DOMAIN_FILES if _only_removes(edits.get(file.name))]
    last = [USERS] if _only_removes(edits.get(USERS.name)) else []
    return [*first, *(file for file in FILES if file not in first + last), *last]


def _only_removes(edits: Edits | None) -> bool:
    return bool(edits) and not any((edits or {}).values())
