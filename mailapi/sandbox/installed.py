"""What is installed here to start private servers from.

    missing()           -> why there can be none on this machine, and how to mend it; or None
    here = versions()   -> Versions("3.7.11", "2.3.19"); raises `SandboxFailed` with `missing()`

This host's own configuration of the servers is not read: it may be missing or broken.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import SandboxFailed

LIBEXEC: Final = Path("/usr/lib/dovecot")
PROGRAMS: Final = {"postconf": "postfix", "dovecot": "dovecot-core", "openssl": "openssl"}
PROTOCOLS: Final = {"imap": "dovecot-imapd", "lmtp": "dovecot-lmtpd"}


@dataclass(frozen=True, slots=True)
class Versions:
    """As `serverconfig` takes them."""

    postfix: str
    dovecot: str

    @property
    def dovecot_numbers(self) -> tuple[int, ...]:
        return tuple(map(int, self.dovecot.split(".")))


def environment() -> dict[str, str]:
    """For the servers and their tools: none of ours, and sbin, which su(1) may have left out."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAIL_", "MAILAPI_"))}
    return kept | {"PATH": f"{kept.get('PATH', os.defpath)}:/usr/sbin:/sbin"}


def missing() -> str | None:
    """In one sentence; all missing packages at once, by their names in Debian."""
    if os.geteuid() != 0:
        return (
            "Only root can start Postfix and Dovecot, whose processes run as several users; use "
            "sudo, or try the service without them: mailapi serve --dev"
        )
    packages = _packages(environment())
    return f"Install what is missing: apt-get install {' '.join(packages)}" if packages else None


def versions() -> Versions:
    if why := missing():
        raise SandboxFailed(why)
    given = environment()
    postfix = _ask(given, "postconf", "-d", "-h", "mail_version")
    dovecot = re.match(r"\d+(\.\d+)+", _ask(given, "dovecot", "--version"))
    if not re.match(r"\d", postfix) or not dovecot:
        raise SandboxFailed(
            "postconf and dovecot do not tell their versions; install both packages again."
        )
    return Versions(postfix, dovecot[0])


def _packages(given: Mapping[str, str]) -> list[str]:
    absent = [p for name, p in PROGRAMS.items() if not shutil.which(name, path=given["PATH"])]
    if "postfix" in absent or not _knows_lmdb(given):
        absent.append("postfix-lmdb")
    return absent + [p for name, p in PROTOCOLS.items() if not (LIBEXEC / name).exists()]


def _knows_lmdb(given: Mapping[str, str]) -> bool:
    with tempfile.TemporaryDirectory() as empty:
        (Path(empty) / "main.cf").touch()
        return "lmdb" in _ask({**given, "MAIL_CONFIG": empty}, "postconf", "-m").split()


def _ask(given: Mapping[str, str], *command: str) -> str:
    """What it prints; nothing where it fails."""
    done = subprocess.run(  # noqa: S603 - constant commands
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=given
    )
    return done.stdout.strip()
