"""The kinds of steps that a plan is made of: an account, a directory, a file, a link.

    step.pending(host)      what it would change, in words; empty: it is as it should be
    step.do(host, journal)  record what is there, then change it

A step looks at the host anew each time, so one that was done, or half done, can be done again.
Raise `InitFailed` and `OSError`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .host import Accounts, Host, Image, digest
from .journal import Entry, Journal

# What useradd(8) and userdel(8) write, their own copies included.
DATABASES: Final = tuple(
    Path("/etc", name + dash)
    for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
    for dash in ("", "-")
)
WORDS: Final[dict[Accounts, str]] = {"group": "group", "passwd": "user"}
NOLOGIN: Final = "/usr/sbin/nologin"


@dataclass(frozen=True, slots=True)
class User:
    """A system account with a group of its own, which nobody can log in to."""

    name: str
    home: str
    comment: str

    def pending(self, host: Host) -> str:
        missing = " and ".join(WORDS[file] for file in self._new(host))
        return f"make the {missing} {self.name}" if missing else ""

    def _new(self, host: Host) -> list[Accounts]:
        return [file for file in WORDS if self.name not in host.accounts(file)]

    def do(self, host: Host, journal: Journal) -> None:
        new = self._new(host)
        saved = {}
        for path in DATABASES:
            if (image := host.image(path)).kind == "file":
                journal.record(Entry("copy", str(path), before=image), host.read(path))
                saved[str(path)] = image.content
        journal.record(Entry("user", self.name, note={"new": new, "saved": saved}))
        if "group" in new:
            host.account("groupadd", "--system", self.name)
        if "passwd" in new:
            host.account(
                "useradd", "--system", "--gid", self.name, "--home-dir", self.home,
                "--no-create-home", "--shell", NOLOGIN, "--comment", self.comment, self.name,
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Directory:
    """`holds`: "files" of other steps, what is "rendered", or "data": the state or the mail.

    One that is there stays as it is if it is for files. Else it gets its owner and mode, and so
    does the owner of all that is in it: a former `--undo` left the data to root.
    """

    path: Path
    owner: str = "root"
    group: str = "root"
    mode: int = 0o755
    holds: str = "files"

    def pending(self, host: Host) -> str:
        image = host.image(self.path)
        if image.kind == "absent":
            return f"make the directory {self.path} ({self._who()})"
        if image.kind == "link" or self.holds == "files":
            return ""  # a link leads to where the administrator has room
        if image.mode != self.mode:
            return f"give the directory {self.path} its owner and mode ({self._who()})"
        accounts = host.accounts("passwd"), host.accounts("group")
        known = self.owner in accounts[0] and self.group in accounts[1]
        if known and (image.uid, image.gid) == (host.uid(self.owner), host.gid(self.group)):
            return ""
        return f"give the directory {self.path} its owner ({self._who()})"

    def do(self, host: Host, journal: Journal) -> None:
        before = host.image(self.path)
        after = Image("directory", self.mode, host.uid(self.owner), host.gid(self.group))
        note = {"holds": self.holds}
        journal.record(Entry("directory", str(self.path), before, after, note))
        host.make_directory(self.path, self.mode, after.uid, after.gid)
        if before.kind == "directory" and self.holds != "files" and before.uid != after.uid:
            host.own_all(self.path, after.uid, after.gid)
        host.own(self.path, self.mode, after.uid, after.gid)

    def _who(self) -> str:
        return f"{self.owner}:{self.group} {self.mode:04o}"


@dataclass(frozen=True, slots=True)
class File:
    """A file of root's. `mode` None: that of the file which is there, and its owner."""

    path: Path
    data: bytes = field(repr=False)
    mode: int | None = 0o644

    def pending(self, host: Host) -> str:
        image = host.image(self.path)
        if image.kind == "absent":
            return f"write {self.path} (root:root {self.mode or 0o644:04o})"
        if image.content != digest(self.data):
            return f"change {self.path}"
        if self.mode is not None and (image.mode, image.uid) != (self.mode, 0):
            return f"give {self.path} its owner and mode (root:root {self.mode:04o})"
        return ""

    def diff(self, host: Host) -> list[str]:
        """The lines of a file that is there and would change."""
        if host.image(self.path).kind != "file":
            return []
        old, new = host.text(self.path), self.data.decode("utf-8", "surrogateescape")
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
        return [line for line in lines if not line.startswith(("---", "+++", "@@"))]

    def do(self, host: Host, journal: Journal) -> None:
        before = host.image(self.path)
        kept = before.kind == "file" and self.mode is None
        mode = before.mode if kept else self.mode or 0o644
        uid, gid = (before.uid, before.gid) if kept else (0, 0)
        after = Image("file", mode, uid, gid, digest(self.data))
        old = host.read(self.path) if before.kind == "file" else None
        journal.record(Entry("file", str(self.path), before, after), old)
        host.write(self.path, self.data, mode, uid, gid)


@dataclass(frozen=True, slots=True)
class Link:
    """As `systemctl enable` makes them."""

    path: Path
    target: str

    def pending(self, host: Host) -> str:
        image = host.image(self.path)
        if (image.kind, image.content) == ("link", self.target):
            return ""
        return f"enable {self.path.name} ({self.path})"

    def do(self, host: Host, journal: Journal) -> None:
        before, after = host.image(self.path), Image("link", 0o777, 0, 0, self.target)
        old = host.read(self.path) if before.kind == "file" else None
        journal.record(Entry("link", str(self.path), before, after), old)
        host.link(self.path, self.target)


Step = User | Directory | File | Link


def pending(host: Host, steps: list[Step]) -> list[Step]:
    return [step for step in steps if step.pending(host)]
