"""Take back what the journal tells, the newest first.

    changed(host, journal)              what somebody changed since; `undo` would overwrite it
    keep(host, changes)                 copies of it
    restore(host, journal, entry, ...)  make the path, directory or account what it was

A path is as we left it, as it was before, or somebody changed it since. What is already as it was
stays, so an `undo` that was interrupted is done again. What somebody changed is copied to
/var/backups before it is overwritten.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..entries import FILES
from .host import Host, Image
from .journal import Entry, Journal
from .steps import DATABASES

KEPT: Final = Path("/var/backups")
PATHS: Final = ("file", "link")
# What the service writes into the directories that Postfix and Dovecot read.
RENDERED: Final = {"smtpd_renew.lmdb", *(f"{f.name}{end}" for f in FILES for end in ("", ".lmdb"))}


def changed(host: Host, journal: Journal) -> dict[str, Path | None]:
    """What is neither as we left it nor as it was before: paths, and groups with new members.

    With each path, where that content is now: there, or among the journal's copies.
    """
    now: dict[Path, tuple[Image, Path]] = {}
    found: dict[str, Path | None] = {}
    for entry in reversed(journal.entries()):
        if entry.kind in PATHS:
            image, where = now.get(entry.path) or (host.image(entry.path), entry.path)
            if not image.same(entry.after) and not image.same(entry.before):
                found.setdefault(entry.name, where)
            if not image.same(entry.before):
                now[entry.path] = entry.before, journal.copy(entry.copy)
        elif entry.kind == "user" and "group" in entry.note["new"] and _members(host, entry.name):
            found[f"the members of the group {entry.name}"] = None
    return found


def restore(host: Host, journal: Journal, entry: Entry, purge: bool = False) -> str:
    """Undo one entry; what is left to say, or nothing."""
    if entry.kind in PATHS:
        _path(host, journal, entry)
    elif entry.kind == "directory":
        return _directory(host, entry, purge)
    elif entry.kind == "user":
        _user(host, journal, entry)
    return ""


def keep(host: Host, changes: Mapping[str, Path | None]) -> Path | None:
    """Copy what somebody changed to /var/backups; where that is."""
    home = KEPT / f"mailapi-init.{time.strftime('%Y%m%dT%H%M%S')}"
    files = {Path(name): where for name, where in changes.items() if where is not None}
    files = {path: where for path, where in files.items() if host.image(where).kind == "file"}
    for path, where in files.items():
        target = home / path.relative_to("/")
        host.real(target.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
        host.write(target, host.read(where), 0o600)
    return home if files else None


def _path(host: Host, journal: Journal, entry: Entry) -> None:
    before, now = entry.before, host.image(entry.path)
    host.unstage(entry.path)
    if now == before:
        return
    if before.kind == "file":
        data = host.read(journal.copy(entry.copy))
        host.write(entry.path, data, before.mode, before.uid, before.gid)
    elif before.kind == "link":
        host.link(entry.path, before.content)
    else:
        host.remove(entry.path)


def _directory(host: Host, entry: Entry, purge: bool) -> str:
    path, before, holds = entry.path, entry.before, entry.note["holds"]
    host.unstage(path)
    if host.image(path).kind != "directory":
        return ""
    if before.kind == "directory":
        host.own(path, before.mode, before.uid, before.gid)
        return f"{path} stays: it was there before." if holds == "data" else ""
    if holds == "rendered":
        _unrender(host, path)
    if host.remove_directory(path, everything=purge and holds == "data"):
        return ""
    if holds == "data":
        host.own(path, 0o700, 0, 0)  # its accounts may be others' some day
        return f"{path} stays, for root alone: --purge would have removed it."
    return f"{path} stays: it holds what is not mailapi's."


def _unrender(host: Host, directory: Path) -> None:
    """What the service wrote there, all of which it can write again."""
    for found in list(host.real(directory).iterdir()):
        if found.name.removeprefix(".").removesuffix(".new") in RENDERED:
            found.unlink(missing_ok=True)


def _user(host: Host, journal: Journal, entry: Entry) -> None:
    new = entry.note["new"]
    if "passwd" in new and entry.name in host.accounts("passwd"):
        host.account("userdel", entry.name)
    if "group" in new and entry.name in host.accounts("group"):
        host.account("groupdel", entry.name)
    _databases(host, journal, entry)


def _databases(host: Host, journal: Journal, entry: Entry) -> None:
    """If the files hold what they held, their older copies, which the commands made, do so too."""
    saved: dict[str, str] = entry.note["saved"]
    copies = {(e.name, e.before.content): e for e in journal.entries() if e.kind == "copy"}
    for path in DATABASES[::2]:
        if host.image(path).content != saved.get(str(path), ""):
            continue
        older = path.with_name(f"{path.name}-")
        if str(older) not in saved:
            host.remove(older)
        elif saved[str(older)] != host.image(older).content:
            _path(host, journal, copies[str(older), saved[str(older)]])


def _members(host: Host, group: str) -> bool:
    fields = host.accounts("group").get(group, [])
    return len(fields) > 3 and bool(fields[3])
