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
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from clients import STRANGER, Clients, poll
from layout import Layout
from sink import Sink

from mailapi.config import Config

PROGRAMS = ("postconf", "dovecot", "doveadm", "openssl", "mbsync")


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


class Bed(Clients):
    def __init__(self, map_type: str = "lmdb") -> None:
        self.root = Path(tempfile.mkdtemp(prefix="bed-"))  # short, for the paths of sockets
        self.layout = Layout(self.root, map_type)
        self.config: Config = self.layout.config
        self._masters: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---------- the servers ----------

    def start(self) -> None:
        """Both servers answer when this returns."""
        self.layout.certificate()
        self.sink, self.tls_sink = Sink(), Sink(self.layout.server_context())
        self.layout.write(self.sink.port, self.tls_sink.port)
        self.layout.empty_files()
        try:
            self.start_dovecot()
            self.start_postfix()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        for name in list(self._masters):  # Dovecot takes a second to end its processes itself
            self._end(name, signal.SIGKILL)
        self.sink.stop()
        self.tls_sink.stop()
        shutil.rmtree(self.root)

    def start_dovecot(self) -> None:
        self._launch("dovecot", "dovecot", "-F", "-c", self.layout.dovecot)
        self._greets("dovecot", self.layout.imap_port)

    def start_postfix(self) -> None:
        master = "/usr/lib/postfix/sbin/master"
        self._launch("postfix", master, "-c", self.layout.postfix, "-d")
        self._greets("postfix", self.layout.smtp_port)

    def stop_dovecot(self) -> None:
        """As an administrator does it; log-ins and deliveries are refused when this returns."""
        self._end("dovecot", signal.SIGTERM)

    def stop_postfix(self) -> None:
        self._end("postfix", signal.SIGTERM)

    def _launch(self, name: str, *command: str | Path) -> None:
        with (self.root / "start.log").open("a") as log:
            self._masters[name] = subprocess.Popen(  # in the foreground: ours to end
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.layout.env,
                start_new_session=True,
            )

    def _greets(self, name: str, port: int) -> None:
        def greeted() -> bool:
            assert self._masters[name].poll() is None, self.logs()
            with contextlib.suppress(OSError), socket.create_connection((STRANGER, port), 5) as s:
                return bool(s.recv(4))
            return False

        poll(greeted, what=f"a greeting of {name}")

    def _end(self, name: str, number: int) -> None:
        master = self._masters.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(master.pid, number)
        master.wait(20)

    # ---------- the servers' own tools ----------

    def flush(self, queue_id: str) -> None:
        """Try a deferred message again now."""
        run("postqueue", "-c", self.layout.postfix, "-i", queue_id, env=self.layout.env)

    def settled(self, queue_id: str, timeout: float = 10) -> str:
        """Wait until the message is gone or deferred; the log's lines about it."""

        def done() -> str:
            lines = [line for line in self.logs().splitlines() if f" {queue_id}: " in line]
            text = "\n".join(lines)
            return text if "status=deferred" in text or text.endswith(": removed") else ""

        said: str = poll(done, timeout, f"{queue_id} removed or deferred")
        return said

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
