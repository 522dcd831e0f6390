"""Rows -> text of all files: of the whole state, or of some names of it.

Work goes in chunks of names, because the rows and lines of a hundred thousand mailboxes need many
times the memory of their text. The caller's transaction holds the state still meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from . import graph
from .entries import DOMAIN_FILES, FILES, File, entries
from .render import Renderer

CHUNK = 1000  # names


def whole(db: sqlite3.Connection, renderer: Renderer) -> dict[str, bytes]:
    """The text of each file, by its name, in the order of `FILES`. Raise `Unrenderable`."""
    parts: dict[str, list[bytes]] = {file.name: [] for file in FILES}
    for file, _, lines in _rendered(db, renderer, graph.all_names(db)):
        parts[file.name].append(b"".join(lines))
    return {name: b"".join(parts.pop(name)) for name in list(parts)}


def edits(
    db: sqlite3.Connection, renderer: Renderer, names: Collection[str]
) -> dict[str, dict[bytes, bytes | None]]:
    """For each file, what `Text.edit` takes: the line of each name, None where it has none."""
    keys = [name.encode() for name in names]
    domains = [key for key in keys if b"@" not in key]
    found: dict[str, dict[bytes, bytes | None]] = {
        file.name: dict.fromkeys(domains if file in DOMAIN_FILES else keys) for file in FILES
    }
    for file, present, lines in _rendered(db, renderer, names):
        found[file.name].update(zip(present, lines, strict=True))
    return found


def _rendered(
    db: sqlite3.Connection, renderer: Renderer, names: Iterable[str]
) -> Iterator[tuple[File, list[bytes], list[bytes]]]:
    """For each chunk and file: the keys of its lines, and the lines."""
    source = iter(names)
    while chunk := list(islice(source, CHUNK)):
        rows = entries(graph.load(db, chunk), chunk)
        for file in FILES:
            keys = [row[0].encode() for row in rows[file.name]]
            yield file, keys, renderer.lines(file, rows[file.name])
