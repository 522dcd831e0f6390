"""What Postfix and Dovecot need to read our files, and nginx to stand before us: `mailapi config`.

    postfix(config)     a shell script of postconf(1) lines, to be run by root
    dovecot(config)     conf.d/90-mailapi.conf, in the syntax of Dovecot 2.3 or 2.4
    nginx(config)       conf.d/mailapi.conf, for nginx 1.18 or newer

All are complete for a stock Debian 12 or 13 but for the certificates. The first two fit the version
that is installed here; a version that is given ("3.7.11", "2.4.1") is not asked for. The text comes
from templates/config. Raise `ConfigError` where the server is not installed, its version is
unknown, or a path has characters that its configuration cannot hold.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import resources
from .config import Config
from .errors import ConfigError

QUEUE_DIRECTORY = Path("/var/spool/postfix")  # Debian's, where there is no Postfix to be asked
BASE_DIR = (Path("/run/dovecot"), Path("/var/run/dovecot"))  # the same place on Debian

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here

# Neither servers' configuration has a way to write all of the others in all places.
_PLAIN = re.compile(r"[A-Za-z0-9/._+@=-]+")
_MAIL_HOME_24 = {"%d": "%{user | domain}", "%n": "%{user | username}", "%u": "%{user}"}
# Since when smtpd_forbid_bare_newline is known, in each line of releases; 3.9 has it by default.
_BARE_NEWLINE = {(3, 5): 23, (3, 6): 13, (3, 7): 9, (3, 8): 4}


def postfix(config: Config, version: str | None = None) -> str:
    """The script for root. Postfix is asked for its version if none is given."""
    text, numbers = _version("Postfix", version, ("postconf", "-h", "mail_version"))
    directory = _plain("[postfix] directory", str(config.postfix.directory))
    return _render(
        "postfix",
        version=text,
        map_type=config.postfix.map_type,
        maps=f"{config.postfix.map_type}:{directory}",
        hostname=config.server.hostname,
        bare_newline=_knows_bare_newline(numbers),
    )


def dovecot(config: Config, version: str | None = None, queue_directory: Path | None = None) -> str:
    """The conf.d file. The servers are asked for what is not given: version, queue directory."""
    text, numbers = _version("Dovecot", version, ("dovecot", "--version"))
    if numbers < (2, 3):
        raise ConfigError("This Dovecot is older than 2.3; install a newer one.")
    old = numbers < (2, 4)
    here, socket = config.dovecot, config.dovecot.userdb_socket
    queue = queue_directory or _queue_directory()
    return _render(
        "dovecot-2.3" if old else "dovecot-2.4",
        version=text,
        users=_plain("[dovecot] directory", str(here.directory / "users")),
        mail_home=_mail_home(here.mail_home, old),
        queue=_plain("Postfix's queue_directory", str(queue)),
        userdb_socket=socket and _listener(socket),
    )


def nginx(config: Config) -> str:
    """The server blocks. nginx need not be installed. Raise `ConfigError` without a TCP port."""
    server = config.server
    if server.socket is not None or server.port == 0:
        raise ConfigError(
            "nginx tells the service who its clients are over TCP only: set [server] host and "
            "port, and leave socket empty."
        )
    host = _LOOPBACK.get(server.host, server.host)
    proxies = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    networks = server.trusted_proxies
    return _render(
        "nginx",
        hostname=server.hostname,
        upstream=f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}",
        proxies=", ".join(f'"{proxy}"' for proxy in proxies),
        untrusted=any(not _within(proxy, networks) for proxy in proxies),
    )


def _within(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """False, too, for what is no address but a name."""
    with contextlib.suppress(ValueError):
        return any(ip_address(address) in network for network in networks)
    return False


def _render(name: str, **values: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(resources.path("templates", "config")),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - no HTML; every value is checked
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{name}.j2").render(values)


def _version(
    server: str, given: str | None, command: tuple[str, ...]
) -> tuple[str, tuple[int, int, int]]:
    """The version as text and as numbers."""
    said = given if given is not None else _ask(command)
    if said is None:
        raise ConfigError(f"{server} is not installed here; install it, or name its version.")
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", said)
    if not found:
        raise ConfigError(f"{server}'s version is unknown; name it, such as 2.4.1.")
    return found[0], (int(found[1]), int(found[2]), int(found[3] or 0))


def _ask(command: tuple[str, ...]) -> str | None:
    """What the server's own program says, or None where it is missing or fails."""
    try:
        return subprocess.run(  # noqa: S603 - constant arguments
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _queue_directory() -> Path:
    """Where Postfix, chrooted as Debian has it, finds the sockets of others."""
    return Path(_ask(("postconf", "-h", "queue_directory")) or QUEUE_DIRECTORY)


def _knows_bare_newline(version: tuple[int, int, int]) -> bool:
    """smtpd_forbid_bare_newline exists; postconf(5)."""
    return version >= (3, 9) or version[2] >= _BARE_NEWLINE.get(version[:2], 1 << 30)


def _mail_home(template: str, old: bool) -> str:
    _plain("[dovecot] mail_home", template.replace("%", ""))
    if old:
        return template
    for variable, expression in _MAIL_HOME_24.items():
        template = template.replace(variable, expression)
    return template


def _listener(socket: Path) -> str:
    """A socket in Dovecot's base_dir goes by its name alone, or Dovecot warns."""
    path = _plain("[dovecot] userdb_socket", str(socket))
    return socket.name if socket.parent in BASE_DIR else path


def _plain(key: str, value: str) -> str:
    """`value`, which the configurations and a quoted word of the shell can hold as it is."""
    if not _PLAIN.fullmatch(value):
        raise ConfigError(f"{key} must be a path of ASCII letters, digits and /._+@=- only.")
    return value
