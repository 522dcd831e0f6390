"""The directory of a sandbox: a temporary one, or one that was named, which is kept out of harm.

    place = Place(None)             # or Place(Path("try")); raises `SandboxFailed`
    place.root                      # it is there, ours, and locked
    place.remove()                  # what the sandbox made; raises nothing

A named directory must be new, empty, or left by a sandbox that was killed: a file of ours marks
it, and a lock on that file says that its sandbox, or its watchdog, still runs. Of what is in there,
only what a sandbox makes is removed; the directory itself, if we made it and nothing else is left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

from ..errors import SandboxFailed

MARK: Final = ".mailapi-sandbox"
OURS: Final = (
    "api", "config.toml", "data", "dovecot", "dovecot.log", "mail", "mailapi.log", "maps",
    "postfix", "postfix.log", "reload", "run", "spool", "start.log", "state", "tls", MARK,
)  # fmt: skip
LONGEST: Final = 60  # characters, for the sockets below it: unix(7) has room for 107
PLAIN: Final = re.compile(rf"[A-Za-z0-9/._+@=-]{{1,{LONGEST}}}")


class Place:
    def __init__(self, named: Path | None) -> None:
        if named is None:
            self.root, self.made = Path(tempfile.mkdtemp(prefix="mailapi-sandbox-")), True
        else:
            self.root, self.made = _named(named)
        self.lock = -1
        try:
            _check(self.root)
            self.lock = _lock(self.root)
        except BaseException:
            if self.made:
                self.root.rmdir()
            raise
        for name in OURS:
            if name != MARK:
                _remove(self.root / name)

    def remove(self) -> None:
        remove(self.root, self.made)
        os.close(self.lock)


def remove(root: Path, directory: bool) -> None:
    """What a sandbox made in `root`, the mark last; and `root` itself if `directory` says so."""
    for name in OURS:
        _remove(root / name)
    if directory:
        with contextlib.suppress(OSError):
            root.rmdir()


def _named(named: Path) -> tuple[Path, bool]:
    """The directory, and whether it was made."""
    root = named.expanduser().resolve()
    try:
        root.mkdir(0o755)
        return root, True
    except FileExistsError:
        pass
    except OSError as error:
        raise SandboxFailed(f"DIR cannot be made: {error.strerror}.") from None
    if not root.is_dir() or root.stat().st_uid != os.geteuid():
        raise SandboxFailed("DIR must be a directory of root's, or a new one.")
    names = {path.name for path in root.iterdir()}
    if names and MARK not in names:
        raise SandboxFailed("DIR is not empty; name another, or none for a temporary one.")
    return root, False


def _check(root: Path) -> None:
    """Both servers can be told of it, and their users can enter it."""
    if not PLAIN.fullmatch(str(root)):
        raise SandboxFailed(
            f"DIR must be a path of at most {LONGEST} ASCII letters, digits and /._+@=- only."
        )
    if not all(path.stat().st_mode & 0o001 for path in root.parents):
        raise SandboxFailed(
            "DIR (or TMPDIR) must not lie in a directory that is closed to others: the users of "
            "Postfix and Dovecot have to enter it."
        )


def _lock(root: Path) -> int:
    fd = os.open(root / MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise SandboxFailed("Another sandbox runs in DIR; name another.") from None
    return fd


def _remove(path: Path) -> None:
    """Also while processes that were just killed make their last file in it."""
    for _ in range(100):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            return
        except OSError:
            time.sleep(0.01)
