"""The folders of Dovecot's imap program: their names for a client's aliases, and which are missing.

opened = Opened({alias: "Old/Work"})
opened.learn(lines)             # the answer to NAMESPACE (RFC 2342)
line = opened.named(line)       # each command, and
opened.answered(tag, rest)      # each tagged answer
opened.lacks(alias)             # it could not be opened, because there is none
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .imap import quoted, unquoted
from .names import encode

_ALIAS = re.compile(rb'"([0-9a-f]{32})"')
_SELECT = re.compile(rb'(\S+) SELECT "([0-9a-f]{32})"\r\n', re.IGNORECASE)
_PERSONAL = re.compile(rb'\* NAMESPACE \(\(("(?:[^"\\]|\\.)*") ("(?:[^"\\]|\\.)*")')
_GONE = re.compile(rb"NO (\[NONEXISTENT\]|Mailbox doesn't exist:)")


class Opened:
    """`folders`: by alias, their names with /."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders = folders
        self._prefix, self._separator = "", "/"
        self._asked: dict[bytes, str] = {}  # by tag
        self._missing: set[str] = set()

    def learn(self, lines: bytes) -> None:
        if found := _PERSONAL.search(lines):
            self._prefix, self._separator = unquoted(found[1]), unquoted(found[2])

    def named(self, line: bytes) -> bytes:
        if found := _SELECT.fullmatch(line):
            self._asked[found[1]] = found[2].decode()
        return _ALIAS.sub(lambda found: self._name(found[1].decode()), line, count=1)

    def _name(self, alias: str) -> bytes:
        levels = self._folders.get(alias, alias).split("/")
        prefix = "" if levels[0] == "INBOX" else self._prefix
        return quoted(prefix + self._separator.join(map(encode, levels)))

    def answered(self, tag: bytes, rest: bytes) -> None:
        alias = self._asked.pop(tag, None)
        if alias is None:
            return
        self._missing.discard(alias)
        if _GONE.match(rest):
            self._missing.add(alias)

    def lacks(self, alias: str) -> bool:
        return alias in self._missing
