"""What mbsync(1) remembers of a job's folders, in the mailbox's home.

    memory = Memory(home, job)          # a directory of the source's own; made if it is missing
    memory.begin(maxage)
    ...                                 # the engine runs
    memory.forget(state)                # where the engine cannot go on with it
    memory.end()                        # only if each message has been taken

It lies with the mail, so a job that is removed and made again, or a database that is restored,
copies nothing twice. mbsync passes over a message for good that it could not copy once: after a run
that did not end well, it is made to look at all messages again that it has no record of. Those that
it has a record of are never copied again. The names of folders here are remembered, too.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final

from .faults import SyncFault

_SEEN = re.compile(r"^MaxPulledUid \d+$", re.MULTILINE)
_RAISED = re.compile(r"^N 0 \d+\n", re.MULTILINE)  # the same in a journal
_MARK: Final = "unfinished"
_AGE: Final = "maxage"
_NAMES: Final = "names"
_OURS: Final = (_MARK, _AGE, _NAMES)
_BESIDE: Final = (".lock", ".new", ".journal", ".lower")  # mbsync's, and ours


class Memory:
    """Raise `SyncFault` (local_failed) where the home cannot be used."""

    def __init__(self, home: Path, job: dict[str, Any]) -> None:
        source = f"{job['user1']}\0{job['host1']}\0{job['subfolder2']}"
        self._directory = home / "mailapi-sync" / hashlib.sha256(source.encode()).hexdigest()[:32]
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SyncFault("local_failed", f"The mailbox's home: {error.strerror}.") from None

    def names(self) -> dict[str, str]:
        """Folders on the wire, and their names here."""
        file = self._directory / _NAMES
        try:
            names: dict[str, str] = json.loads(file.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return names

    def keep_names(self, names: dict[str, str]) -> None:
        self._replace(self._directory / _NAMES, json.dumps(names))

    def file(self, wire: str, near: str) -> Path:
        """For a folder of the source and its name here; the file's name is the folder's alias."""
        return self._directory / hashlib.sha256(f"{wire}\0{near}".encode()).hexdigest()[:32]

    def known(self, file: Path) -> set[int]:
        """The UIDs that the state and journal of a folder tell of, and perhaps some others."""
        uids: set[int] = set()
        for found in self._directory.glob(f"{file.name}*"):
            if found.suffix == ".journal" or not found.name.endswith(_BESIDE):
                column = int(found.suffix == ".journal")
                text = found.read_text(encoding="utf-8", errors="replace")
                words = (line.split()[column : column + 1] for line in text.splitlines())
                uids |= {int(word) for first in words for word in first if word.isdigit()}
        return uids

    def forget(self, file: Path) -> None:
        """The next run copies the folder as if it were new."""
        for found in sorted(self._directory.glob(f"{file.name}*"), reverse=True):
            found.unlink(missing_ok=True)  # a journal before its state

    def begin(self, maxage: int) -> None:
        """`maxage` as in the job: where it has grown, older messages come in reach."""
        mark, age = self._directory / _MARK, self._directory / _AGE
        before = age.read_text(encoding="utf-8") if age.exists() else "0"
        if mark.exists() or not before.isdigit() or 0 < int(before) < (maxage or 10**9):
            self._look_again()
        mark.touch(mode=0o600)
        age.write_text(str(maxage), encoding="utf-8")

    def end(self) -> None:
        (self._directory / _MARK).unlink(missing_ok=True)

    def _look_again(self) -> None:
        """A journal that was cut off in the middle of a line is made whole, as well."""
        for file in list(self._directory.iterdir()):
            if file.name.endswith(".journal"):
                text = file.read_text(encoding="utf-8", errors="replace")
                self._replace(file, _RAISED.sub("", text[: text.rfind("\n") + 1]))
            elif file.name not in _OURS and not file.name.endswith(_BESIDE):
                text = file.read_text(encoding="utf-8", errors="replace")
                self._replace(file, _SEEN.sub("MaxPulledUid 0", text, count=1))

    def _replace(self, file: Path, text: str) -> None:
        new = file.with_name(f"{file.name}.lower")
        new.write_text(text, encoding="utf-8")
        new.replace(file)
