"""What the relay sees pass, and what it lets pass where a job has `maxage`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from typing import Final

_SEARCH: Final = b"YOUNG"  # a tag that is no engine's
_UID = re.compile(rb"\* \d+ FETCH .*\bUID (\d+)", re.IGNORECASE)
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"


@dataclass(slots=True)
class Seen:
    """What has passed; `folder` as on the wire; `lost` and `hung` are about the remote side.

    `asked` counts the messages that the engine wanted, `large` those that were kept back.
    """

    messages: int = 0
    bytes: int = 0
    folder: str | None = None
    in_folder: int = 0
    asked: int = 0
    large: int = 0
    lost: bool = False
    hung: bool = False


class Young:
    """Messages that arrived on `since` or later; UIDs that are `known` of a folder on the wire."""

    def __init__(self, since: date, known: Callable[[str], Collection[int]]) -> None:
        month = _MONTHS[since.month * 3 - 3 : since.month * 3]
        when = f"{since.day}-{month}-{since.year:04}"
        self._command = _SEARCH + f" UID SEARCH SINCE {when}\r\n".encode()
        self._known = known
        self._shown: set[int] = set()

    def opening(self, folder: str) -> bytes:
        """The command to send behind the one that opens it."""
        self._shown = set(self._known(folder))
        return self._command

    def keeps_back(self, line: bytes) -> bool:
        """The answer to our own question, and messages that are too old."""
        if line.startswith(_SEARCH):
            if not line[len(_SEARCH) :].upper().startswith(b" OK"):
                raise ConnectionError("the remote side cannot search")
            return True
        if line.upper().startswith(b"* SEARCH"):
            self._shown |= {int(word) for word in line.split()[2:] if word.isdigit()}
            return True
        found = _UID.match(line)
        return found is not None and int(found[1]) not in self._shown
