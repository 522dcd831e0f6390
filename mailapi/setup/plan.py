"""What `mailapi init` would do on this host: the steps, in their order, in two parts.

    plan = make(host, found)
    plan.ours           accounts, directories, configuration, program, units: nobody reads them yet
    plan.servers        what Postfix and Dovecot read; the maps must be there before
    plan.config         the configuration that the service will have

The second part comes when the service has run once. A mail server whose configuration names a map
that is missing takes no mail. Raise `InitFailed`, `ConfigError`.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .. import config as configuration
from .. import resources, serverconfig
from ..config import Config
from ..errors import ConfigError
from . import found as facts
from .found import DOVECOT, Found
from .host import Host
from .steps import Directory, File, Link, Step, User

UNITS: Final = Path("/etc/systemd/system")
NAMES: Final = (
    *("mailapi-reload.socket", "mailapi-reload.service"),
    *("mailapi.service", "mailapi-sync.service"),
)
RELOAD: Final = Path("/usr/local/sbin/mailapi-reload")
SOCKET: Final = "/run/mailapi-reload.socket"
ADMIN: Final = "/run/mailapi/admin.sock"
SYNC: Final = "/run/mailapi/sync.sock"
WANTED: Final = (
    ("sockets.target.wants", "mailapi-reload.socket"),
    ("multi-user.target.wants", "mailapi.service"),
)
WANTED_FOR_SYNC: Final = ("multi-user.target.wants", "mailapi-sync.service")
SYSTEM_AUTH: Final = re.compile(r"^(\s*)(!include\s+auth-system\.conf\.ext\s*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Plan:
    found: Found
    config: Config
    ours: list[Step]
    servers: list[Step]

    @property
    def steps(self) -> list[Step]:
        return self.ours + self.servers


def make(host: Host, found: Found, conf: Mapping[Path, bytes] | None = None) -> Plan:
    """`conf`: main.cf and master.cf as they will be, if that is known."""
    text = config_text(host, found)
    config = parse(text)
    staged = facts.staged(host, config, found) if conf is None else conf
    ours = [*_accounts(config), *directories(config), *_config(text)]
    ours += programs(found.program, config, bool(found.isync))
    return Plan(found, config, ours, _servers(host, config, found, staged))


def config_text(host: Host, found: Found) -> str:
    """That of the configuration which is there, else the example with what this host needs."""
    there = host.text(configuration.DEFAULT_PATH)
    if there:
        return there
    values: list[tuple[str, str, object]] = [
        ("server", "admin_socket", ADMIN),
        ("server", "hostname", found.myhostname),
        ("reload", "socket", SOCKET),
        ("sync", "socket", SYNC),
    ]
    if found.nginx:
        values.append(("server", "trusted_proxies", ["127.0.0.1"]))
    text = configuration.example()
    for section, key, value in values:
        text = _set(text, section, key, json.dumps(value))
    return text


def config_of(host: Host) -> Config | None:
    """The configuration that is there, if it can be used."""
    try:
        return parse(host.text(configuration.DEFAULT_PATH) or "-")
    except ConfigError:
        return None


def parse(text: str) -> Config:
    """Raise `ConfigError`."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".toml") as file:
        file.write(text)
        file.flush()
        return configuration.load(Path(file.name))


def _set(text: str, section: str, key: str, value: str) -> str:
    """Another value in the example, whose sections have each of their keys once."""
    head, mark, rest = text.partition(f"[{section}]\n")
    return head + mark + re.sub(rf"(?m)^{key} = .*$", lambda _: f"{key} = {value}", rest, count=1)


def _accounts(config: Config) -> list[Step]:
    home = mail_root(config)
    return [
        User("mailapi", "/nonexistent", "REST API for Postfix and Dovecot"),
        User("vmail", str(home), "Mail of mailapi's mailboxes"),
    ]


def mail_root(config: Config) -> Path:
    """The directory above all that depends on the mailbox."""
    fixed = config.dovecot.mail_home.partition("%")[0]
    return Path(fixed if fixed.endswith("/") else str(Path(fixed).parent))


def directories(config: Config) -> list[Directory]:
    """Those that the service, Postfix and Dovecot need, and those above them."""
    mail = mail_root(config)
    directories = [
        Directory(config.state.directory, "mailapi", "mailapi", 0o700, "data"),
        Directory(config.sync.key_file.parent, "mailapi", "mailapi", 0o700, "data"),
        Directory(config.postfix.directory, "mailapi", "postfix", 0o2750, "rendered"),
        Directory(config.dovecot.directory, "mailapi", "dovecot", 0o2750, "rendered"),
        Directory(mail, "vmail", "vmail", 0o750, "data"),
    ]
    above = dict.fromkeys(directory.path.parent for directory in directories)
    return [*map(Directory, above), *directories]


def _config(text: str) -> list[Step]:
    path = configuration.DEFAULT_PATH
    return [Directory(path.parent), File(path, text.encode(), None)]


def programs(program: Path, config: Config, sync: bool) -> list[Step]:
    """The program that reloads, and the units, of which two start `program`; `sync`: that, too."""
    reload = resources.path("systemd", "mailapi-reload").read_bytes()
    steps: list[Step] = [File(RELOAD, reload, 0o755)]
    for name in NAMES:
        steps.append(File(UNITS / name, unit(name, program, config)))
    for directory, name in (*WANTED, WANTED_FOR_SYNC) if sync else WANTED:
        steps.append(Directory(UNITS / directory))
        steps.append(Link(UNITS / directory / name, str(UNITS / name)))
    return steps


def unit(name: str, program: Path, config: Config) -> bytes:
    """A unit, with the command where it is installed, and the mail where it lies."""
    text = resources.path("systemd", name).read_text(encoding="utf-8")
    if not name.startswith("mailapi-reload"):
        text = re.sub(r"(?m)^ExecStart=\S+", lambda _: f"ExecStart={program}", text)
    return text.replace("-/var/vmail", f"-{mail_root(config)}").encode()


def _servers(host: Host, config: Config, found: Found, conf: Mapping[Path, bytes]) -> list[Step]:
    text = serverconfig.dovecot(config, found.dovecot).encode()
    steps: list[Step] = [File(DOVECOT / "conf.d" / "90-mailapi.conf", text)]
    auth = facts.real(host, DOVECOT / "conf.d" / "10-auth.conf")
    old = host.text(auth)
    if (new := SYSTEM_AUTH.sub(r"\1#\2", old)) != old:
        steps.append(File(auth, new.encode("utf-8", "surrogateescape"), None))
    return steps + [File(path, data, None) for path, data in conf.items()]
