"""The files of a `Bed`: configuration of both servers, queue, certificate, empty maps.

The wiring is the text of `serverconfig`, run and included as it is. What stands beside it is a
stock Debian's main.cf and master.cf, shortened, and what a test must have otherwise.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path

from mailapi import config, resources, serverconfig
from mailapi.entries import FILES
from mailapi.lmdbmap import LmdbMap

VMAIL = 5000  # numeric: the machine needs no such account
HOSTNAME = "mx.bed.test"

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {root}/spool
data_directory = {root}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = {root}/postfix.log
maillog_file_prefixes = {root}
myhostname = {hostname}
mynetworks = 127.0.0.2/32
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
disable_dns_lookups = yes
smtp_host_lookup = native
smtp_dns_support_level = disabled
relayhost = [127.0.0.1]:{sink}
transport_maps = inline:{{ {{ tls.test = :[127.0.0.1]:{tls_sink} }} }}
smtpd_tls_chain_files = {root}/tls/key.pem, {root}/tls/cert.pem
smtpd_peername_lookup = no
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
"""
DOVECOT_CONF = """\
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
namespace inbox {{
  inbox = yes
}}
!include 90-mailapi.conf

# numeric owners; the service under test is root
mail_uid = {vmail}
mail_gid = {vmail}
service auth {{
  unix_listener {root}/api/mailapi-userdb {{
    user = root
  }}
  # a listener's user must have a name; any mode but 0666 answers for all mailboxes
  unix_listener auth-userdb {{
    user = root
    mode = 0606
  }}
}}
auth_failure_delay = 0
# else each log-in after a wrong password waits for seconds
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""
# for [reload] command: the program that systemd(1) would start, told where these servers are
HOOK = """\
#!{python} -IS
import sys
from importlib import machinery, util
loader = machinery.SourceFileLoader("reload", "{program}")
reload = util.module_from_spec(util.spec_from_loader("reload", loader))
sys.dont_write_bytecode = True
loader.exec_module(reload)
reload.POSTFIX, reload.DOVEADM = "{root}/bin/postfix", "{root}/bin/doveadm"
reload.MASTER = "{root}/spool/pid/master.pid"
sys.exit(reload.answer(" ".join(sys.argv[1:]).encode() + b"\\n") != "ok")
"""
HERE = '#!/bin/sh\nexec {program} -c {configuration} "$@"\n'
DIRECTORIES = ("postfix", "spool/pid", "data", "dovecot", "run", "state", "mail", "api", "bin")
QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming")
QUEUES += ("private", "saved", "trace")


class Layout:
    def __init__(self, root: Path, map_type: str) -> None:
        self.root = root
        self.postfix = root / "postfix"
        self.dovecot = root / "dovecot" / "dovecot.conf"
        self.service = root / "api"
        self.hook = root / "bin/hook"
        self.config = _config(root, map_type)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("MAIL_", "MAILAPI_"))}
        self.env["MAIL_CONFIG"] = str(self.postfix)
        ports = _free_ports(4)
        self.smtp_port, self.submission_port, self.submissions_port, self.imap_port = ports

    def certificate(self) -> None:
        (self.root / "tls").mkdir()
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]
        command += ["-nodes", "-days", "2", "-subj", f"/CN={HOSTNAME}"]
        command += ["-keyout", "key.pem", "-out", "cert.pem"]
        subprocess.run(command, cwd=self.root / "tls", check=True, capture_output=True)

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.root / "tls/cert.pem", self.root / "tls/key.pem")
        return context

    @cached_property
    def client_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.root / "tls/cert.pem")
        return context

    def write(self, sink: int, tls_sink: int) -> None:
        """Everything but the certificate and the maps."""
        self.root.chmod(0o755)
        self._directories()
        values = {"root": self.root, "hostname": HOSTNAME, "vmail": VMAIL, "imap": self.imap_port}
        main = MAIN_CF.format(sink=sink, tls_sink=tls_sink, **values)
        (self.postfix / "main.cf").write_text(main)
        shutil.copy("/usr/share/postfix/master.cf.dist", self.postfix / "master.cf")
        self._backdate()
        self._wire_postfix()
        self._backdate()
        self.dovecot.write_text(DOVECOT_CONF.format(**values))
        text = serverconfig.dovecot(self.config, queue_directory=self.root / "spool")
        self._programs()
        self.dovecot.with_name("90-mailapi.conf").write_text(text)

    def _programs(self) -> None:
        program = resources.path("systemd", "mailapi-reload")
        self._program("hook", HOOK.format(python=sys.executable, program=program, root=self.root))
        for name, where in (("postfix", self.postfix), ("doveadm", self.dovecot)):
            text = HERE.format(program=shutil.which(name), configuration=where)
            self._program(name, text)

    def _program(self, name: str, text: str) -> None:
        file = self.root / "bin" / name
        file.write_text(text)
        file.chmod(0o755)

    def _directories(self) -> None:
        for name in DIRECTORIES:
            (self.root / name).mkdir(parents=True)
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

    def _wire_postfix(self) -> None:
        script = serverconfig.postfix(self.config)
        subprocess.run(["sh", "-s"], input=script, text=True, env=self.env, check=True)
        master = self.postfix / "master.cf"
        text = master.read_text()
        for service, port in (
            ("smtp", self.smtp_port),
            ("submission", self.submission_port),
            ("submissions", self.submissions_port),
        ):
            text = text.replace(f"\n{service} ", f"\n127.0.0.1:{port} ", 1)
        master.write_text(text)

    def _backdate(self) -> None:
        """Postfix naps while its configuration is younger than two seconds."""
        for name in ("main.cf", "master.cf"):
            os.utime(self.postfix / name, (time.time() - 60,) * 2)

    def empty_files(self) -> None:
        """The files of a service without a domain; as root writes them."""
        for file in FILES:
            directory = getattr(self.config, file.server).directory
            (directory / file.name).touch(0o640)
            if file.server == "postfix" and self.config.postfix.map_type == "lmdb":
                _empty_map(directory / file.name)
        if self.config.postfix.map_type == "lmdb":
            _empty_map(self.config.postfix.directory / "smtpd_renew")


def _config(root: Path, map_type: str) -> config.Config:
    built = config.dev(root / "maps")
    sections = {
        "server": {"hostname": HOSTNAME},
        "state": {"directory": root / "api/state"},
        "passwords": {"bcrypt_rounds": 4},
        "postfix": {"map_type": map_type},
        "dovecot": {
            "mail_home": f"{root}/mail/%d/%n",
            "userdb_socket": root / "api/mailapi-userdb",
            "look_interval": 1,
        },
    }
    return built.model_copy(
        update={name: getattr(built, name).model_copy(update=s) for name, s in sections.items()}
    )


def _directory(path: Path, owner: str, group: str, mode: int) -> None:
    path.mkdir(parents=True)
    shutil.chown(path, owner, group)
    path.chmod(mode)  # after chown, which clears the set-group-id bit


def _empty_map(path: Path) -> None:
    empty = LmdbMap(path)
    empty.sync({})
    empty.close()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
