"""The sections and keys of the configuration: their types, defaults and ranges.

Frozen, and strict: "80" is no number and 1 no boolean. Paths are absolute. A validator's message
says what the value must be and never holds it. `config` reads them and names the keys at fault.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOSTNAME = re.compile(rf"{LABEL}(\.{LABEL})*")


def _absolute(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value).isprintable():
        raise ValueError("must be a path without control characters")
    if not Path(value).is_absolute():
        raise ValueError("must be an absolute path")
    return Path(value)


def _absolute_or_none(value: Any) -> Path | None:
    """None for the empty string, which the environment gives as Path("")."""
    return None if value in ("", None, Path()) else _absolute(value)


def _hostname(value: str) -> str:
    """The host's own name if none is given. It may lack a dot: then it is no mail domain."""
    name = (value or socket.gethostname()).lower()
    if not value and "." not in name:
        full = socket.getfqdn(name).lower()
        name = full if full.startswith(f"{name}.") else name
    if len(name) > 253 or not HOSTNAME.fullmatch(name):
        raise ValueError("must be a host name such as mail.example.com")
    return name


def _network(value: Any) -> IPv4Network | IPv6Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(value if isinstance(value, str) else "", strict=False)
    except ValueError:
        raise ValueError(
            "must be an array of IP addresses or networks such as 10.0.0.0/8"
        ) from None


def _mail_home(value: str) -> str:
    letters = set(re.findall(r"%(.?)", _absolute(value).as_posix()))
    if not letters <= set("dnu") or not ("u" in letters or {"d", "n"} <= letters):
        raise ValueError(
            "must hold %d (domain) and %n (local part), or %u (address), and no other % sign"
        )
    return value


Directory = Annotated[Path, BeforeValidator(_absolute)]
SocketPath = Annotated[Path | None, BeforeValidator(_absolute_or_none)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
# Arrays are lists in TOML, and strict takes only a tuple for a tuple.
Networks = Annotated[tuple[Network, ...], Field(strict=False)]
Command = Annotated[tuple[str, ...], Field(strict=False)]


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_default=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


class Server(Section):
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]+$")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    socket: SocketPath = None
    admin_socket: SocketPath = None
    hostname: Annotated[str, AfterValidator(_hostname)] = ""
    trusted_proxies: Networks = ()

    @model_validator(mode="after")
    def _sockets_differ(self) -> Server:
        if self.socket is not None and self.socket == self.admin_socket:
            raise ValueError("socket and admin_socket must differ: one needs a key, one does not")
        return self


class State(Section):
    directory: Directory = Path("/var/lib/mailapi")


class RateLimit(Section):
    requests: Annotated[int, Field(ge=0)] = 600
    period: Annotated[int, Field(ge=1, le=86400)] = 60
    auth_failures: Annotated[int, Field(ge=0)] = 20


class Passwords(Section):
    bcrypt_rounds: Annotated[int, Field(ge=4, le=16)] = 12
    min_length: Annotated[int, Field(ge=8, le=72)] = 8


class Postfix(Section):
    directory: Directory = Path("/var/lib/mailapi-maps/postfix")
    map_type: Literal["lmdb", "texthash"] = "lmdb"


class Dovecot(Section):
    directory: Directory = Path("/var/lib/mailapi-maps/dovecot")
    mail_home: Annotated[str, AfterValidator(_mail_home)] = "/var/vmail/%d/%n"
    userdb_socket: SocketPath = Path("/run/dovecot/mailapi-userdb")
    look_interval: Annotated[float, Field(ge=0, le=60)] = 1


class Reload(Section):
    socket: SocketPath = None
    command: Command = ()
    timeout: Annotated[float, Field(gt=0, le=3600)] = 30

    @model_validator(mode="after")
    def _one_of_both(self) -> Reload:
        if self.socket is not None and self.command:
            raise ValueError("must have a socket or a command, not both")
        return self


class Sync(Section):
    socket: SocketPath = None
    user: Annotated[str, Field(pattern=r"^([a-z_][a-z0-9_-]{0,31}|[0-9]{1,9})$")] = "vmail"
    key_file: Directory = Path("/var/lib/mailapi-secrets/keys")
    dovecot: Directory = Path("/etc/dovecot/dovecot.conf")
    max_parallel: Annotated[int, Field(ge=1, le=64)] = 2
    time_limit: Annotated[int, Field(ge=60, le=604800)] = 21600
    allow_private_hosts: bool = False
    allow_plaintext: bool = False


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
