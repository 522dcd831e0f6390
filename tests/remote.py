"""The remote side of sync jobs: a second real Dovecot, with mailboxes of its own.

    with Remote() as remote:
        remote.fill("Sent", 3)
        remote.port, remote.tls_port, remote.ca     # imaps has a certificate for remote.test

Its one user `USER` has the password `PASSWORD`. It listens on loopback; needs root, dovecot-imapd
and openssl.
"""

from __future__ import annotations

import contextlib
import imaplib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from bed import poll, run
from layout import VMAIL, _free_ports

HOST, USER, PASSWORD = "127.0.0.1", "old@remote.test", "s3cret of the remote side"
NAME = "remote.test"

CONF = """\
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{root}/cert.pem
ssl_key = <{root}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = {root}/users
}}
userdb {{
  driver = static
  args = uid={vmail} gid={vmail} home={root}/mail/%u
}}
first_valid_uid = 100
mail_location = mdbox:~/mdbox
namespace inbox {{
  inbox = yes
  separator = /
}}
mail_max_userip_connections = 100
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
"""


class Remote:
    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="remote-"))
        self.root.chmod(0o755)
        self.port, self.tls_port = _free_ports(2)
        self.ca = self.root / "cert.pem"
        self._master: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.certificate()
        self._prepare()
        self.start()
        return self

    def _prepare(self) -> None:
        (self.root / "mail").mkdir()
        os.chown(self.root / "mail", VMAIL, VMAIL)
        (self.root / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        values = {"root": self.root, "port": self.port, "tls_port": self.tls_port}
        text = CONF.format(vmail=VMAIL, **values)
        (self.root / "dovecot.conf").write_text(text)

    def _launch(self, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(("dovecot", "-F", "-c", self.root / "dovecot.conf"), **options)

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.root)

    def certificate(self) -> None:
        """Self-signed, for `NAME`; who trusts it trusts nobody else."""
        run(
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={NAME}"),
            *("-addext", f"subjectAltName=DNS:{NAME},IP:{HOST}"),
            *("-keyout", self.root / "key.pem", "-out", self.root / "cert.pem"),
        )

    def start(self) -> None:
        with (self.root / "start.log").open("w") as log:
            self._master = self._launch(
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        poll(self._greets, what=f"a greeting; see {self.root}")

    def stop(self) -> None:
        """At once, with all its sessions."""
        if self._master is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._master.pid, signal.SIGKILL)
            self._master.wait(10)
            self._master = None

    def _greets(self) -> bool:
        assert self._master is not None
        assert self._master.poll() is None, (self.root / "start.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 5) as client:
            return bool(client.recv(4))
        return False

    @contextlib.contextmanager
    def imap(self) -> Iterator[imaplib.IMAP4]:
        with imaplib.IMAP4(HOST, self.port, timeout=20) as client:
            client.login(USER, PASSWORD)
            yield client

    def fill(self, folder: str, count: int, first: int = 1, size: int = 200) -> None:
        """`count` messages, a day apart, every third one \\Seen; `folder` in modified UTF-7."""
        numbers = range(first, first + count)
        self.add(folder, [(number, 1_600_000_000 + number * 86_400) for number in numbers], size)

    def add(self, folder: str, messages: Iterable[tuple[int, float]], size: int = 200) -> None:
        """Messages by number and time of arrival; the folder is made if need be."""
        with self.imap() as client:
            if folder != "INBOX":
                client.create(f'"{folder}"')
            for number, arrived in messages:
                text = message(folder, number, size)
                flags = r"(\Seen)" if number % 3 == 0 else ""
                when = imaplib.Time2Internaldate(arrived)
                said = client.append(f'"{folder}"', flags, when, text)
                assert said[0] == "OK", said

    def contents(self) -> dict[str, list[tuple[str, str, str]]]:
        with self.imap() as client:
            return contents(client)

    def logs(self) -> str:
        log = self.root / "log"
        return log.read_text(errors="replace") if log.exists() else ""


def message(folder: str, number: int, size: int = 200) -> bytes:
    head = f"From: a@b.test\r\nSubject: {folder} {number}\r\nMessage-ID: <{folder}.{number}@b.test>"
    return f"{head}\r\n\r\n{'x' * 70}\r\n".encode() + b"y" * max(0, size - 160) + b"\r\n"


def contents(client: imaplib.IMAP4) -> dict[str, list[tuple[str, str, str]]]:
    """By folder, in order: (subject, flags but \\Recent, INTERNALDATE) of each message."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for line in client.list()[1]:
        assert isinstance(line, bytes)
        if b"\\Noselect" in line:
            continue
        name = line.decode().split(' "', 2)[-1].split('" ', 1)[-1].strip('"')
        typ, count = client.select(f'"{name}"', readonly=True)
        assert typ == "OK", line
        if count == [b"0"]:
            found[name] = []
            continue
        rows = client.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
        found[name] = [_row(row) for row in rows if isinstance(row, tuple)]
    return found


def _row(row: tuple[bytes, bytes]) -> tuple[str, str, str]:
    flags = sorted(f.decode() for f in imaplib.ParseFlags(row[0]) if f != b"\\Recent")
    when = imaplib.Internaldate2tuple(row[0])
    assert when is not None
    return row[1].decode().strip(), " ".join(flags), str(int(time.mktime(when)))
