"""The text of one rendered file: sorted lines in one `bytes`, changed line by line.

A line is its key, a separator and a value. Lines are sorted by the key's domain, then by the key,
so the same state gives the same bytes, whatever the order of the changes that led to it. Finding a
line is a binary search in the text itself: a hundred thousand lines cost no more memory than their
bytes, and a change costs one copy of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def sort_key(key: bytes) -> tuple[bytes, bytes]:
    """Domain, then key: `ann@example.com`, `@example.com` and `example.com` stand together.

    Backslashes do not count: a key is found and sorted alike with and without them.
    """
    return key.rpartition(b"@")[2], key.replace(b"\\", b"")


class Text:
    """`separator` ends the key: a blank in Postfix's maps, a colon in Dovecot's passwd-file."""

    def __init__(self, separator: bytes, data: bytes = b"") -> None:
        self.separator = separator
        self.data = data

    def __len__(self) -> int:
        """The number of lines."""
        return self.data.count(b"\n")

    def line(self, key: bytes) -> bytes | None:
        """The line of `key`, with its newline; None if there is none."""
        start, end = self._find(key, 0)
        return self.data[start:end] or None

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each line."""
        for line in self.data.splitlines():
            key, _, value = line.partition(self.separator)
            yield key, value

    def edit(self, edits: Mapping[bytes, bytes | None]) -> dict[bytes, bytes | None]:
        """Put (`line` with its newline) or remove (None) lines; return those that changed any."""
        changed: dict[bytes, bytes | None] = {}
        parts: list[bytes | memoryview] = []
        data, done = memoryview(self.data), 0
        for key in sorted(edits, key=sort_key):
            start, end = self._find(key, done)
            line = edits[key]
            if self.data[start:end] != (line or b""):
                changed[key] = line
                parts += (data[done:start], line or b"")
                done = end
        if changed:
            self.data = b"".join((*parts, data[done:]))
        return changed

    def _find(self, key: bytes, low: int) -> tuple[int, int]:
        """Where the line of `key` stands, at or after offset `low`; empty where it would stand."""
        data, wanted = self.data, sort_key(key)
        high = len(data)
        while low < high:
            start = data.rfind(b"\n", low, (low + high) // 2) + 1 or low
            end = data.index(b"\n", start) + 1
            here = sort_key(data[start : data.index(self.separator, start, end)])
            if here == wanted:
                return start, end
            if here < wanted:
                low = end
            else:
                high = start
        return low, low
