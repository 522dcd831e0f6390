"""Debian packages that cannot be installed beside Dovecot, unpacked where tests run them from.

    tree = unpacked("usr/lib/cyrus/bin/imapd", "cyrus-imapd", "sasl2-bin")
    run(tree / "usr/lib/cyrus/bin/imapd", env=environment(tree))

apt downloads them, and what they need that is not installed, into MAILAPI_TEST_CACHE (default
/var/cache/mailapi-tests), once. The machine itself is not changed, but for apt's lists.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from bed import run

CACHE = Path(os.environ.get("MAILAPI_TEST_CACHE", "/var/cache/mailapi-tests"))
_APT = ("apt-get", "-qq", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=15")


class Missing(Exception):
    """They cannot be had; the text says why."""


def unpacked(program: str, *packages: str) -> Path:
    """The tree in which they are; `program` has all of its libraries. Raise `Missing`."""
    if not shutil.which("apt-get"):
        raise Missing("needs apt-get")
    CACHE.mkdir(parents=True, exist_ok=True)
    tree = CACHE / packages[0]
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _runs(tree, program):
            _unpack(tree, packages)
        if not _runs(tree, program):
            raise Missing(f"needs all libraries of {tree / program}")
    return tree


def environment(tree: Path) -> dict[str, str]:
    """Programs and libraries are looked for in the tree first."""
    programs = (tree / "usr/sbin", tree / "usr/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
    libraries = (*tree.glob("lib/*-linux-gnu"), *tree.glob("usr/lib/*-linux-gnu"))
    return {
        "PATH": ":".join(map(str, programs)),
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
    }


def _runs(tree: Path, program: str) -> bool:
    if not (tree / program).exists():
        return False
    return "not found" not in run("ldd", tree / program, env=environment(tree))


def _unpack(tree: Path, packages: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        archives, new = Path(name) / "archives", Path(name) / "tree"
        (archives / "partial").mkdir(parents=True)
        try:
            _download(archives, packages)
        except AssertionError as error:
            raise Missing(f"needs packages that apt-get does not get: {error}") from None
        for archive in archives.glob("*.deb"):
            run("dpkg", "-x", archive, new)
        shutil.rmtree(tree, ignore_errors=True)
        new.rename(tree)


def _download(archives: Path, packages: tuple[str, ...]) -> None:
    """With what they depend on; once more with new lists, if it fails."""
    where = ("-o", f"Dir::Cache::archives={archives}", "-o", "DPkg::Lock::Timeout=60")
    command = (*_APT, *where, "-y", "--download-only", "--no-install-recommends", "install")
    try:
        run(*command, *packages)
    except AssertionError:
        run(*_APT, "update")
        run(*command, *packages)
