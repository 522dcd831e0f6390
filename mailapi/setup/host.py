"""The host that is set up: its files, its accounts, its programs.

    host = Host()
    host.image(Path("/etc/postfix/main.cf"))    -> Image("file", mode, uid, gid, sha256)
    host.write(path, data, mode, uid, gid)      beside the target, then renamed over it
    host.run("postfix", "check")                -> what it said; raises `InitFailed`

Every method that changes something does one thing, and may be done again after a crash. `root` is
put before every path, and given to useradd(8) and its kin; it is another than / in tests only.
Raise `OSError` and `InitFailed`.

Sources: rename(2), fsync(2), passwd(5), group(5), useradd(8).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ..errors import InitFailed

Accounts = Literal["passwd", "group"]
Kind = Literal["absent", "file", "directory", "link", "other"]
PROGRAMS: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
PATIENCE: Final = 120.0  # seconds for a program; a restart of Postfix may take half a minute
SAID: Final = 2000  # characters of what a program that failed said


@dataclass(frozen=True, slots=True)
class Image:
    """What is at a path. `content` is a file's SHA-256 or a link's target."""

    kind: Kind
    mode: int = 0
    uid: int = 0
    gid: int = 0
    content: str = ""

    def same(self, other: Image) -> bool:
        """The same thing with the same content, whoever owns it."""
        return (self.kind, self.content) == (other.kind, other.content)


ABSENT: Final = Image("absent")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Host:
    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def real(self, path: Path) -> Path:
        return self.root / path.relative_to("/")

    def image(self, path: Path) -> Image:
        """What is there now; a link is not followed."""
        try:
            found = self.real(path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return ABSENT
        kind, content = _kind(found.st_mode), ""
        if kind == "file":
            content = digest(self.read(path))
        elif kind == "link":
            content = str(self.real(path).readlink())
        return Image(kind, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, content)

    def read(self, path: Path) -> bytes:
        return self.real(path).read_bytes()

    def text(self, path: Path) -> str:
        """What is in a file, empty if there is none."""
        try:
            return self.read(path).decode("utf-8", "surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def write(self, path: Path, data: bytes, mode: int, uid: int = 0, gid: int = 0) -> None:
        """Make `data` what is at `path`, as a whole, durably."""
        self.stage(path, data, mode, uid, gid)
        self.staged(path).rename(self.real(path))
        self.sync(path.parent)

    def stage(self, path: Path, data: bytes, mode: int, uid: int, gid: int) -> None:
        """Write it beside `path`."""
        staged = self.staged(path)
        staged.unlink(missing_ok=True)
        fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as stream:
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
            stream.write(data)
            stream.flush()
            os.fsync(fd)

    def staged(self, path: Path) -> Path:
        """Really where a file, link or directory is made, before it gets its name."""
        target = self.real(path)
        return target.with_name(f".{target.name}.mailapi-new")

    def unstage(self, path: Path) -> None:
        """Remove what a crash left there."""
        staged = self.staged(path)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            staged.rmdir() if staged.is_dir() and not staged.is_symlink() else staged.unlink()

    def remove(self, path: Path) -> None:
        """A file or link, if it is there."""
        self.unstage(path)
        with contextlib.suppress(NotADirectoryError):
            self.real(path).unlink(missing_ok=True)
        if self.real(path.parent).is_dir():
            self.sync(path.parent)

    def link(self, path: Path, target: str) -> None:
        """Make `path` a symbolic link, in place of what was there."""
        staged = self.staged(path)
        staged.unlink(missing_ok=True)
        staged.symlink_to(target)
        staged.rename(self.real(path))
        self.sync(path.parent)

    def make_directory(self, path: Path, mode: int = 0o700, uid: int = 0, gid: int = 0) -> None:
        """Complete, or not at all; one that is there stays as it is."""
        if self.real(path).is_dir():
            return
        staged = self.staged(path)
        staged.mkdir(mode=0o700, exist_ok=True)
        os.chown(staged, uid, gid)
        staged.chmod(mode)  # last, because chown(2) may take the setgid bit away
        staged.rename(self.real(path))
        self.sync(path.parent)

    def own(self, path: Path, mode: int, uid: int, gid: int) -> None:
        """Of a file or directory; the mode last, as above."""
        os.chown(self.real(path), uid, gid, follow_symlinks=False)
        self.real(path).chmod(mode)

    def own_all(self, path: Path, uid: int, gid: int) -> None:
        """Everything below a directory, and then the directory."""
        for directory, _, names in os.walk(self.real(path), topdown=False):
            for name in names:
                os.chown(Path(directory, name), uid, gid, follow_symlinks=False)
            os.chown(directory, uid, gid)

    def remove_directory(self, path: Path, everything: bool = False) -> bool:
        """Whether it is gone; one that holds anything stays, unless `everything` goes with it."""
        if everything:
            shutil.rmtree(self.real(path), ignore_errors=True)
        with contextlib.suppress(OSError):
            self.real(path).rmdir()
            self.sync(path.parent)
        return not self.real(path).exists()

    def sync(self, directory: Path) -> None:
        fd = os.open(self.real(directory), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def accounts(self, file: Accounts) -> dict[str, list[str]]:
        """passwd(5) or group(5): name -> its line's fields."""
        lines = [line.split(":") for line in self.text(Path("/etc", file)).splitlines()]
        return {fields[0]: fields for fields in lines if len(fields) > 3}

    def uid(self, name: str) -> int:
        return self._number("passwd", name)

    def gid(self, name: str) -> int:
        return self._number("group", name)

    def _number(self, file: Accounts, name: str) -> int:
        try:
            return int(self.accounts(file)[name][2])
        except (KeyError, ValueError):
            raise InitFailed(
                f"There is no {name} in /etc/{file}; its package is missing."
            ) from None

    def account(self, *argv: str) -> None:
        """useradd(8) and its kin."""
        prefix = () if self.root == Path("/") else ("--prefix", str(self.root))
        self.run(argv[0], *prefix, *argv[1:])

    def run(self, *argv: str, stdin: str = "", **environment: str) -> str:
        """What the program says on standard output. Raise `InitFailed` with what it says if not."""
        try:
            done = subprocess.run(  # noqa: S603 - no shell; constant programs, checked arguments
                argv,
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PATIENCE,
                env=PROGRAMS | environment,
                cwd="/",
            )
        except FileNotFoundError:
            raise InitFailed(f"There is no {argv[0]}; install its package.") from None
        except subprocess.TimeoutExpired:
            raise InitFailed(f"{' '.join(argv)} did not end in {PATIENCE:g} seconds.") from None
        if done.returncode:
            said = (done.stderr + done.stdout).strip()[-SAID:]
            raise InitFailed(f"{' '.join(argv)} failed with status {done.returncode}: {said}")
        return done.stdout

    def ask(self, *argv: str) -> str | None:
        """What the program says, without blanks around it; None where it is missing or fails."""
        try:
            return self.run(*argv).strip()
        except InitFailed:
            return None


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"
