"""What is installed here, and what its configuration would become.

    found = look(host)          raises `InitFailed` with all that is missing, and how to get it
    found.postfix               "3.7.11"
    staged(host, config)        main.cf and master.cf as `mailapi config postfix` makes them

The script of `mailapi config postfix` runs on copies of both files, so what it does is known, and
can be shown, before anything is changed.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .. import serverconfig
from ..config import Config
from ..errors import InitFailed
from .host import Host

POSTFIX: Final = Path("/etc/postfix")
DOVECOT: Final = Path("/etc/dovecot")
CONF: Final = ("main.cf", "master.cf")


@dataclass(frozen=True, slots=True)
class Found:
    """The versions of what is installed, and where. `nginx` and `isync` may be empty: none."""

    postfix: str
    dovecot: str
    systemd: str
    nginx: str
    isync: str
    myhostname: str
    program: Path  # the command `mailapi`, as systemd will start it

    def __str__(self) -> str:
        nginx = f", nginx {self.nginx}" if self.nginx else ", no nginx"
        isync = f", isync {self.isync}" if self.isync else ", no isync (for sync jobs)"
        servers = f"Postfix {self.postfix}, Dovecot {self.dovecot}"
        return f"{servers}, systemd {self.systemd}{nginx}{isync}"


def look(host: Host) -> Found:
    """Raise `InitFailed`."""
    if os.geteuid() != 0:
        raise InitFailed("Only root can look at all of this host and set it up; use sudo.")
    postfix = host.ask("postconf", "-h", "mail_version")
    dovecot = host.ask("dovecot", "--version")
    missing = _missing(host, postfix, dovecot)
    if missing:
        raise InitFailed(f"Install what is missing: apt-get install {' '.join(missing)}")
    if host.image(Path("/run/systemd/system")).kind != "directory":
        raise InitFailed("systemd does not run here; the README tells how to install without it.")
    return Found(
        postfix or "",
        (dovecot or "").partition(" ")[0],
        _number(host.ask("systemctl", "--version")),
        _number(host.ask("sh", "-c", "nginx -v 2>&1")),
        _number(host.ask("mbsync", "--version")),
        host.ask("postconf", "-h", "myhostname") or "",
        program(Path(sys.prefix)),
    )


def program(prefix: Path) -> Path:
    """The command in this virtual environment. Raise `InitFailed` if the service cannot start it.

    The unit hides /home and /root, and runs as a user that owns nothing.
    """
    command = prefix / "bin" / "mailapi"
    hidden = [p for p in ("/home", "/root", "/run/user", "/tmp") if command.is_relative_to(p)]  # noqa: S108 - no file is made there
    if hidden or not command.exists() or not _open(command) or not _open(Path(sys.executable)):
        raise InitFailed(
            "The service's own user must be able to run mailapi, and cannot see what lies in "
            "/home, /root or /tmp: install it again, such as with "
            "python3 -m venv /opt/mailapi/venv && /opt/mailapi/venv/bin/pip install mailapi"
        )
    return command


def _open(path: Path) -> bool:
    """Others may enter all directories on the way, and read and execute it."""
    path = path.resolve()
    return all(part.stat().st_mode & 0o001 for part in (path, *path.parents))


def _missing(host: Host, postfix: str | None, dovecot: str | None) -> list[str]:
    """Debian's packages that are needed and are not there."""
    known = (host.ask("postconf", "-m") or "").split()
    protocols = (host.ask("doveconf", "-h", "protocols") or "").split()
    return [
        package
        for package, there in (
            ("postfix", postfix is not None),
            ("postfix-lmdb", "lmdb" in known),
            ("dovecot-core", dovecot is not None),
            ("dovecot-imapd", "imap" in protocols),
            ("dovecot-lmtpd", "lmtp" in protocols),
        )
        if not there
    ]


def _number(said: str | None) -> str:
    found = re.search(r"\d[\d.]*", said or "")
    return found[0] if found else ""


def staged(host: Host, config: Config, found: Found) -> Mapping[Path, bytes]:
    """main.cf and master.cf, by their real paths, with our settings. Raise `InitFailed`."""
    script = serverconfig.postfix(config, found.postfix)
    with tempfile.TemporaryDirectory(prefix="mailapi-init.") as name:
        directory = Path(name)
        for file in CONF:
            (directory / file).write_bytes(host.read(POSTFIX / file))
            os.utime(directory / file, (0, 0))  # or postconf(1) waits until it is no longer new
        host.run("sh", "-s", stdin=script, MAIL_CONFIG=name)
        return {real(host, POSTFIX / file): (directory / file).read_bytes() for file in CONF}


def real(host: Host, path: Path) -> Path:
    """Where a link leads, as the administrator may have made it for one of these files."""
    resolved = host.real(path).resolve()
    return Path("/") / resolved.relative_to(host.root.resolve())
