"""The files of a private Postfix and Dovecot: configuration, queue, certificate, empty maps.

    ports = free_ports()
    layout = Layout(root, private_config(root, "mx.sandbox.test", ports.api), ports, versions())
    layout.write()

The wiring is the text of `serverconfig`, run and included as it is. What stands beside it comes
from templates/sandbox: a stock Debian's settings, shortened, with everything under `root`, ports of
our own, numeric owners, no DNS, and no way out for mail but `relayhost`.

`root` is an empty directory with a short name of plain characters, which every user can enter.
Needs root. Raises `ConfigError`, and `SandboxFailed` where one of the servers' tools fails.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .. import resources, serverconfig, settings
from ..config import Config
from ..entries import FILES
from ..errors import SandboxFailed
from ..lmdbmap import LmdbMap
from .installed import Versions, environment

VMAIL: Final = 5000  # a number: the machine needs no such account
HOST: Final = "127.0.0.1"
QUEUES: Final = (
    "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
    "saved", "trace",
)  # fmt: skip
MASTER_CF: Final = Path("/usr/share/postfix/master.cf.dist")
NOWHERE: Final = f"[{HOST}]:1"  # nobody listens there: mail that would leave is kept


@dataclass(frozen=True, slots=True)
class Ports:
    """On `HOST`."""

    smtp: int
    submission: int
    submissions: int
    imap: int
    api: int


def free_ports() -> Ports:
    """Ports that nobody used a moment ago."""
    sockets = [socket.create_server((HOST, 0)) for _ in Ports.__slots__]
    found = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return Ports(*found)


def private_config(
    root: Path, hostname: str, api: int, map_type: str = "lmdb", bcrypt_rounds: int = 12
) -> Config:
    """The service's: everything under `root`, whatever the environment says."""
    return Config.model_construct(
        server=settings.Server(
            host=HOST, port=api, hostname=hostname, admin_socket=root / "api/admin.sock"
        ),
        state=settings.State(directory=root / "api/state"),
        passwords=settings.Passwords(bcrypt_rounds=bcrypt_rounds),
        postfix=settings.Postfix.model_validate(
            {"directory": root / "maps/postfix", "map_type": map_type}
        ),
        dovecot=settings.Dovecot(
            directory=root / "maps/dovecot",
            mail_home=f"{root}/mail/%d/%n",
            userdb_socket=root / "api/mailapi-userdb",
        ),
        reload=settings.Reload(command=(str(root / "reload"),)),
        sync=settings.Sync(
            key_file=root / "api/secrets/keys", dovecot=root / "dovecot/dovecot.conf"
        ),
    )


class Layout:
    """`env` is for the servers and their tools; `more` goes to the end of main.cf's first part."""

    def __init__(
        self,
        root: Path,
        config: Config,
        ports: Ports,
        versions: Versions,
        relayhost: str = NOWHERE,
        more: str = "",
    ) -> None:
        self.root, self.config, self.ports, self.versions = root, config, ports, versions
        self.relayhost, self.more = relayhost, more
        self.postfix = root / "postfix"
        self.dovecot = root / "dovecot" / "dovecot.conf"
        self.certificate, self.key = root / "tls/cert.pem", root / "tls/key.pem"
        self.env = {**environment(), "MAIL_CONFIG": str(self.postfix)}

    def write(self) -> None:
        self.root.chmod(0o755)  # the servers' users have to pass
        self._directories()
        self._certificate()
        self._postfix()
        self._dovecot()
        program = self.root / "reload"
        program.write_text(self._render("reload"), encoding="utf-8")
        program.chmod(0o755)
        self._maps()

    def run(self, *command: str | Path, stdin: str = "") -> str:
        """What it prints, which must succeed; out of reach of the terminal's Ctrl-C."""
        done = subprocess.run(  # noqa: S603 - commands of ours
            command, input=stdin, capture_output=True, text=True, env=self.env,
            cwd=self.root, start_new_session=True,
        )  # fmt: skip
        if done.returncode:
            raise SandboxFailed(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
        return done.stdout

    def _directories(self) -> None:
        for name in ("postfix", "spool/pid", "data", "dovecot", "run", "state", "mail", "tls"):
            (self.root / name).mkdir(parents=True)
        (self.root / "api").mkdir(0o700)
        shutil.chown(self.root / "data", "postfix", "postfix")
        os.chown(self.root / "mail", VMAIL, VMAIL)
        for name, group, mode in (
            *((queue, "root", 0o700) for queue in QUEUES),
            ("maildrop", "postdrop", 0o730),
            ("public", "postdrop", 0o710),
        ):
            _directory(self.root / "spool" / name, "postfix", group, mode)
        _directory(self.config.postfix.directory, "root", "postfix", 0o2750)
        _directory(self.config.dovecot.directory, "root", "dovecot", 0o2750)

    def _certificate(self) -> None:
        """Self-signed, for the host's name and its loopback address."""
        name = self.config.server.hostname
        self.run(
            "openssl", "req", "-x509", "-nodes", "-days", "30",
            "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:{HOST}",
            "-keyout", self.key, "-out", self.certificate,
        )  # fmt: skip

    def _postfix(self) -> None:
        name = self.config.server.hostname
        text = self._render("main.cf", relayhost=self.relayhost, hostname=name)
        (self.postfix / "main.cf").write_text(text + self.more, encoding="utf-8")
        shutil.copy(MASTER_CF, self.postfix / "master.cf")
        self._backdate()
        self.run("sh", "-s", stdin=serverconfig.postfix(self.config, self.versions.postfix))
        master = self.postfix / "master.cf"
        text = master.read_text(encoding="utf-8")
        for service in ("smtp", "submission", "submissions"):
            port = getattr(self.ports, service)
            text = text.replace(f"\n{service} ", f"\n{HOST}:{port} ", 1)
        master.write_text(text, encoding="utf-8")
        self._backdate()

    def _backdate(self) -> None:
        """Postfix naps while its configuration is younger than two seconds."""
        for name in ("main.cf", "master.cf"):
            os.utime(self.postfix / name, (time.time() - 60,) * 2)

    def _dovecot(self) -> None:
        text = self._render(
            "dovecot.conf",
            version=self.versions.dovecot_numbers,
            vmail=VMAIL,
            imap=self.ports.imap,
            userdb_socket=self.config.dovecot.userdb_socket,
        )
        self.dovecot.write_text(text, encoding="utf-8")
        wiring = serverconfig.dovecot(self.config, self.versions.dovecot, self.root / "spool")
        self.dovecot.with_name("90-mailapi.conf").write_text(wiring, encoding="utf-8")

    def _maps(self) -> None:
        """The files of a service without a domain, so that the servers can start before it."""
        lmdb = self.config.postfix.map_type == "lmdb"
        for file in FILES:
            directory = getattr(self.config, file.server).directory
            (directory / file.name).touch(0o640)
            if lmdb and file.server == "postfix":
                _empty_map(directory / file.name)
        if lmdb:
            _empty_map(self.config.postfix.directory / "smtpd_renew")

    def _render(self, name: str, **values: object) -> str:
        return render(name, root=self.root, **values)


def render(name: str, **values: object) -> str:
    """The text of one of templates/sandbox."""
    environment = Environment(
        loader=FileSystemLoader(resources.path("templates", "sandbox")),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - no HTML; every value is ours
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{name}.j2").render(values)


def _directory(path: Path, owner: str, group: str, mode: int) -> None:
    path.mkdir(parents=True)
    shutil.chown(path, owner, group)
    path.chmod(mode)  # after chown, which clears the set-group-id bit


def _empty_map(path: Path) -> None:
    empty = LmdbMap(path)
    empty.sync({})
    empty.close()
