"""What mbsync(1) remembers of a job's folders, in the mailbox's home.

    memory = Memory(home, job)          # a directory of the source's own; made if it is missing
    memory.begin(maxage)
    ...                                 # the engine runs
    memory.end(status, said)

It lies with the mail, so a job that is removed and made again, or a database that is restored,
copies nothing twice. mbsync passes over a message for good that was refused here once (a full
quota): after a run with refusals, or one behind a run that was cut off, it is made to look at all
messages again that it has no record of. Those that it has a record of are never copied again.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Final

from .faults import SyncFault

_REFUSED = re.compile(r"refuses to store message (\d+)")
_SEEN = re.compile(r"^MaxPulledUid (\d+)$", re.MULTILINE)
_MARK: Final = "unfinished"
_AGE: Final = "maxage"
_BESIDE: Final = (".lock", ".new", ".journal", ".lower")  # mbsync's, and ours


class Memory:
    """Raise `SyncFault` (local_failed) where the home cannot be used."""

    def __init__(self, home: Path, job: dict[str, Any]) -> None:
        source = f"{job['user1']}\0{job['host1']}\0{job['subfolder2']}"
        self._directory = home / "mailapi-sync" / hashlib.sha256(source.encode()).hexdigest()[:32]
        self._cut_off = False
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SyncFault("local_failed", f"The mailbox's home: {error.strerror}.") from None

    def file(self, wire: str, near: str) -> Path:
        """For a folder of the source and its name here; mbsync adds to the file's name."""
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

    def begin(self, maxage: int) -> None:
        """`maxage` as in the job: where it has grown, older messages come in reach."""
        mark, age = self._directory / _MARK, self._directory / _AGE
        self._cut_off = mark.exists()
        mark.touch(mode=0o600)
        before = age.read_text(encoding="utf-8") if age.exists() else "0"
        if not before.isdigit() or 0 < int(before) < (maxage or 10**9):
            self._look_again(0)
        age.write_text(str(maxage), encoding="utf-8")

    def end(self, status: int, said: str) -> None:
        """The engine has ended by itself; not called if it was ended."""
        refused = [int(number) for number in _REFUSED.findall(said)]
        if self._cut_off:
            self._look_again(0)
        elif refused:
            self._look_again(min(refused) - 1)
        if status == 0:
            (self._directory / _MARK).unlink(missing_ok=True)

    def _look_again(self, above: int) -> None:
        """At all messages whose UIDs are above; mbsync writes the number in each run anyway."""
        for file in list(self._directory.iterdir()):
            if file.name not in (_MARK, _AGE) and not file.name.endswith(_BESIDE):
                text = file.read_text(encoding="utf-8")
                found = _SEEN.search(text)
                if found and int(found[1]) > above:
                    new = file.with_name(f"{file.name}.lower")
                    new.write_text(_SEEN.sub(f"MaxPulledUid {above}", text), encoding="utf-8")
                    new.replace(file)
