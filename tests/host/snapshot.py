"""What is on a machine's disk: every path that `mailapi init` could touch, to the byte."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

TOPS = (
    "etc",
    "usr/local",
    "var/lib",
    "var/vmail",
    "var/backups",
    "var/spool/postfix/private",
    "root",
)
# What the system itself changes while it runs.
MOVING = ("/etc/.updated", "/etc/.pwd.lock", "/etc/resolv.conf", "/etc/machine-id", "/etc/ssl",
          "/var/lib/systemd", "/var/lib/dovecot", "/var/lib/postfix", "/var/lib/private",
          "/var/lib/nginx", "/root")  # fmt: skip

Snapshot = dict[str, tuple[object, ...]]


def take(root: Path) -> Snapshot:
    """Path -> mode, owner, group, and content or target."""
    found: Snapshot = {}
    for top in TOPS:
        for path in (root / top, *(root / top).rglob("*")):
            name = f"/{path.relative_to(root)}"
            if name.startswith(MOVING):
                continue
            try:
                found[name] = _image(path)
            except FileNotFoundError:
                continue
    return found


def _image(path: Path) -> tuple[object, ...]:
    there = path.lstat()
    content = ""
    if stat.S_ISREG(there.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    elif stat.S_ISLNK(there.st_mode):
        content = str(path.readlink())
    return there.st_mode, there.st_uid, there.st_gid, content


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """The paths that are not the same."""
    return sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
