"""Start what was set up, and stop it again: systemd, Postfix, Dovecot.

All of it can be done again. Raise `InitFailed` with what the program said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from .host import Host

SERVERS: Final = ("postfix", "dovecot")  # in this order: Dovecot listens in Postfix's directory
SYNC: Final = "mailapi-sync.service"
UNITS: Final = (SYNC, "mailapi.service", "mailapi-reload.service", "mailapi-reload.socket")
QUEUE: Final = "/var/spool/postfix"
PRIVATE: Final = ("auth", "dovecot-lmtp", "dovecot-quota", "mailapi-tls")
SOCKET: Final = Path("/run/mailapi-reload.socket")


def sockets(host: Host) -> list[str]:
    """Those of ours in Postfix's directory that are there; who made them leaves them behind."""
    directory = Path(host.ask("postconf", "-h", "queue_directory") or QUEUE, "private")
    found = [directory / name for name in PRIVATE]
    return [str(path) for path in found if host.image(path).kind != "absent"]


def running(host: Host) -> list[str]:
    """The mail servers that run, or would after a boot."""
    return [
        name for name in SERVERS if _is(host, "is-active", name) or _is(host, "is-enabled", name)
    ]


def service(host: Host) -> None:
    """The service, anew; it has written the maps when this returns."""
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "stop", "mailapi-reload.service")
    host.run("systemctl", "restart", "mailapi-reload.socket")
    host.run("systemctl", "restart", "mailapi.service")


def runner(host: Host) -> None:
    """What runs sync jobs, anew, if it is enabled; Dovecot must know of the mail before."""
    if _is(host, "is-enabled", SYNC):
        host.run("systemctl", "restart", SYNC)


def check(host: Host) -> None:
    """Both servers can read their configuration."""
    host.run("postfix", "check")
    host.run("doveconf", "-n")


def servers(host: Host, names: list[str]) -> None:
    """Anew: a reload would do for Postfix, but neither for new listeners nor for one that died."""
    for name in names:
        host.ask("systemctl", "reset-failed", name)
        host.run("systemctl", "restart", name)


def stop(host: Host) -> None:
    """The units of ours that are there."""
    for name in UNITS:
        host.ask("systemctl", "stop", name)


def forget(host: Host) -> None:
    """The units are gone."""
    host.remove(SOCKET)
    host.run("systemctl", "daemon-reload")
    for name in UNITS:
        host.ask("systemctl", "reset-failed", name)


def _is(host: Host, what: str, name: str) -> bool:
    return host.ask("systemctl", what, name) is not None
