"""A real Postfix and a real Dovecot for tests: in one temporary directory, on loopback only.

    bed = Bed(); bed.start(); ...; bed.stop()       or `with Bed() as bed:`

They are wired with the text of `serverconfig` and read the files that `bed.config` names; a service
under test is given this configuration, or writes files in the same places. `Layout` adds what only
a test needs: ports, numeric owners, no DNS, no chroot-less daemons of the host, two sinks for the
mail that leaves (`sink` without TLS; `tls_sink` with TLS, for recipients in tls.test).

This host's own networks are 127.0.0.2 for the bed (`send(own_host=True)`); clients from 127.0.0.1
are strangers. Needs root, postfix, postfix-lmdb, dovecot-core, -imapd, -lmtpd and openssl.
"""

from __future__ import annotations

import contextlib
import functools
import imaplib
import json
import os
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any, Self

from layout import Layout
from sink import Sink

from mailapi.config import Config

STRANGER, OWN_HOST = "127.0.0.1", "127.0.0.2"
PROGRAMS = ("postconf", "dovecot", "doveadm", "openssl")


def missing() -> str | None:
    """Why there can be no bed on this machine, or None."""
    if os.geteuid():
        return "needs root"
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if not absent and "lmdb" not in run("postconf", "-m").split():
        absent = ["postfix-lmdb"]
    return f"needs {', '.join(absent)}" if absent else None


def run(*command: str | Path, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
    """What the command prints; it must succeed."""
    # not through a pipe: a daemon that inherits it would keep us waiting
    with tempfile.TemporaryFile("w+") as out:
        done = subprocess.run(
            command, input=stdin, stdout=out, stderr=subprocess.STDOUT, env=env, text=True
        )
        out.seek(0)
        said = out.read()
    assert done.returncode == 0, f"{command}: {said}"
    return said


def poll(condition: Callable[[], Any], timeout: float = 10, what: str = "a condition") -> Any:
    """The first true value of `condition`; TimeoutError if none comes in `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(0.005)
    return value


class Bed:
    def __init__(self, map_type: str = "lmdb") -> None:
        self.root = Path(tempfile.mkdtemp(prefix="bed-"))  # short, for the paths of sockets
        self.layout = Layout(self.root, map_type)
        self.config: Config = self.layout.config
        self._masters: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Both servers answer when this returns."""
        self.layout.certificate()
        self.sink, self.tls_sink = Sink(), Sink(self.layout.server_context())
        self.layout.write(self.sink.port, self.tls_sink.port)
        self.layout.empty_files()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        postfix = ("/usr/lib/postfix/sbin/master", "-c", self.layout.postfix, "-d")
        dovecot = ("dovecot", "-F", "-c", self.layout.dovecot)
        with (self.root / "start.log").open("w") as log:
            for command in (dovecot, postfix):  # in the foreground: ours to end
                self._masters.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env=self.layout.env,
                        start_new_session=True,
                    )
                )
        for port in (self.layout.imap_port, self.layout.smtp_port):
            poll(lambda port=port: self._greets(port), what=f"a greeting; see {self.root}")

    def _greets(self, port: int) -> bool:
        for master in self._masters:
            assert master.poll() is None, self.logs()
        with contextlib.suppress(OSError), socket.create_connection((STRANGER, port), 5) as client:
            return bool(client.recv(4))
        return False

    def stop(self) -> None:
        for master in self._masters:  # Dovecot takes a second to end its processes itself
            with contextlib.suppress(ProcessLookupError):
                os.killpg(master.pid, signal.SIGKILL)
            master.wait(10)
        self._masters.clear()
        self.sink.stop()
        self.tls_sink.stop()
        shutil.rmtree(self.root)

    def reload_postfix(self) -> None:
        """Return when the processes of before are gone; `postfix reload` does not wait for them."""
        before = self._postfix_processes()
        run("postfix", "-c", self.layout.postfix, "reload", env=self.layout.env)
        poll(lambda: not before & self._postfix_processes(), what="the end of Postfix's processes")

    def _postfix_processes(self) -> set[str]:
        master = self._masters[-1].pid
        done = subprocess.run(
            ["pgrep", "-P", str(master), "smtpd|trivial-rewrite|cleanup|qmgr"],
            capture_output=True,
            text=True,
        )
        return set(done.stdout.split())

    # ---------- mail in ----------

    @contextlib.contextmanager
    def smtp(
        self, port: int | None = None, starttls: bool = False, own_host: bool = False
    ) -> Iterator[smtplib.SMTP]:
        """A session with port 25, or `layout.submission_port`, or over TLS `submissions_port`."""
        port = port or self.layout.smtp_port
        context = self.layout.client_context
        kind: Any = smtplib.SMTP
        if port == self.layout.submissions_port:
            kind = functools.partial(smtplib.SMTP_SSL, context=context)
        source = (OWN_HOST if own_host else STRANGER, 0)
        with kind(STRANGER, port, "client.test", timeout=20, source_address=source) as client:
            if starttls:
                client.starttls(context=context)
            client.ehlo()
            yield client

    def send(
        self,
        sender: str,
        to: str | Iterable[str],
        subject: str = "test",
        body: str = "A line.\r\n",
        auth: tuple[str, str] | None = None,
        port: int | None = None,
        starttls: bool = False,
        own_host: bool = False,
        declare_size: bool = True,
    ) -> str:
        """Send one message; with `auth` through submission. Return the queue id.

        Raises smtplib.SMTPResponseException with the first reply that is not 2xx, as `code, text`.
        """
        if auth:
            port = port or self.layout.submission_port
        starttls = starttls or (auth is not None and port != self.layout.submissions_port)
        text = f"From: {sender or '<>'}\r\nSubject: {subject}\r\n\r\n{body}".encode()
        with self.smtp(port, starttls, own_host) as client:
            if auth:
                client.login(*auth)
            _must(client.mail(sender, [f"SIZE={len(text)}"] if declare_size else []))
            for recipient in [to] if isinstance(to, str) else to:
                _must(client.docmd("RCPT", f"TO:<{recipient}>"))  # as it is: smtplib mends it
            return _must(client.data(text)).rpartition(" queued as ")[2]

    def queue(self) -> list[dict[str, Any]]:
        """Postfix's queue, as postqueue -j shows it."""
        listed = run("postqueue", "-c", self.layout.postfix, "-j", env=self.layout.env)
        return [json.loads(line) for line in listed.splitlines()]

    def settled(self, queue_id: str, timeout: float = 10) -> str:
        """Wait until the message is gone or deferred; the log's lines about it."""

        def done() -> str:
            lines = [line for line in self.logs().splitlines() if f" {queue_id}: " in line]
            text = "\n".join(lines)
            return text if "status=deferred" in text or text.endswith(": removed") else ""

        said: str = poll(done, timeout, f"{queue_id} removed or deferred")
        return said

    # ---------- mailboxes ----------

    @contextlib.contextmanager
    def imap(self, user: str, password: str) -> Iterator[imaplib.IMAP4]:
        """A session; raises imaplib.IMAP4.error where the log-in is refused."""
        with imaplib.IMAP4(STRANGER, self.layout.imap_port, timeout=20) as client:
            client.login(user, password)
            yield client

    def logs_in(self, user: str, password: str) -> bool:
        with contextlib.suppress(imaplib.IMAP4.error), self.imap(user, password):
            return True
        return False

    def messages(
        self, user: str, password: str, subject: str, at_least: int = 1, timeout: float = 10
    ) -> list[bytes]:
        """The INBOX's messages of that subject, as soon as there are so many."""
        with self.imap(user, password) as client:
            return poll(
                lambda: (found := _fetch(client, subject)) and len(found) >= at_least and found,
                timeout,
                f"{at_least} messages {subject!r} for {user}",
            )

    def subjects(self, user: str, password: str) -> list[str]:
        """What is in the INBOX now; to show that something is not there, see `settled`."""
        with self.imap(user, password) as client:
            return [message_from_bytes(message)["Subject"] for message in _fetch(client)]

    # ---------- the servers' own tools ----------

    def doveadm(self, *arguments: str) -> str:
        return run("doveadm", "-c", self.layout.dovecot, *arguments, env=self.layout.env)

    def postmap_q(self, name: str, keys: Iterable[str]) -> dict[str, str]:
        """Those of `keys` that Postfix finds in the map, with their values."""
        spec = f"{self.config.postfix.map_type}:{self.config.postfix.directory / name}"
        command = ["postmap", "-c", str(self.layout.postfix), "-q", "-", spec]
        said = subprocess.run(
            command,
            input="".join(f"{key}\n" for key in keys),
            capture_output=True,
            text=True,
            env=self.layout.env,
        )
        assert not said.stderr, said.stderr
        return dict(line.split("\t", 1) for line in said.stdout.splitlines())

    def logs(self) -> str:
        files = (self.root / name for name in ("start.log", "dovecot.log", "postfix.log"))
        return "".join(f.read_text(errors="replace") for f in files if f.exists())


def _must(reply: tuple[int, bytes]) -> str:
    code, text = reply
    if code // 100 != 2:
        raise smtplib.SMTPResponseException(code, text)
    return text.decode()


def _fetch(client: imaplib.IMAP4, subject: str | None = None) -> list[bytes]:
    client.select("INBOX", readonly=True)
    found = client.search(None, *(("SUBJECT", f'"{subject}"') if subject else ("ALL",)))[1][0]
    numbers = found.split() if found else []
    return [client.fetch(number.decode(), "(BODY.PEEK[])")[1][0][1] for number in numbers]
