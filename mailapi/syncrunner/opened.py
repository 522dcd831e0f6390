"""Which folders a client of Dovecot's imap program could not open, because there are none.

opened.asked(line)              # each command, and
opened.answered(tag, rest)      # each tagged answer
opened.lacks("Old/Work")        # as on the wire, but with /, and without a namespace's prefix
"""

from __future__ import annotations

import re

from .remote import unquoted

_SELECT = re.compile(rb"(\S+) SELECT (.*)\r\n", re.IGNORECASE)
_GONE = re.compile(rb"NO (\[NONEXISTENT\]|Mailbox doesn't exist:)")


class Opened:
    def __init__(self) -> None:
        self._asked: dict[bytes, str] = {}  # by tag
        self._missing: set[str] = set()

    def asked(self, line: bytes) -> None:
        if found := _SELECT.fullmatch(line):
            self._asked[found[1]] = unquoted(found[2]).replace(".", "/")

    def answered(self, tag: bytes, rest: bytes) -> None:
        name = self._asked.pop(tag, None)
        if name is None:
            return
        self._missing.discard(name)
        if _GONE.match(rest):
            self._missing.add(name)

    def lacks(self, name: str) -> bool:
        return any(f"/{one}".endswith(f"/{name}") for one in self._missing)
