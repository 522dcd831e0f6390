"""The processes of a sandbox: both masters in the foreground, the service; and all they begin.

    servers = Servers(layout, started=print)    # told of each process group that begins
    servers.start_dovecot(); servers.start_postfix()        # both answer when these return
    servers.launch("mailapi", "mailapi", "serve", ...)
    servers.stop()

Each is a session and process group of its own, so the terminal's Ctrl-C does not reach it, and one
signal reaches all that it started. Raises `SandboxFailed`. All calls block.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ..errors import SandboxFailed
from .layout import HOST, Layout

PATIENCE: Final = 20.0  # seconds for a start or an end
LOGS: Final = ("start.log", "dovecot.log", "postfix.log", "mailapi.log")


class Servers:
    def __init__(self, layout: Layout, started: Callable[[int], object] = lambda _: None) -> None:
        self.layout = layout
        self._started = started
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_dovecot(self) -> None:
        self.launch("dovecot", "dovecot", "-F", "-c", self.layout.dovecot)
        self.answers("dovecot", lambda: _greets(self.layout.ports.imap))

    def start_postfix(self) -> None:
        where = self.layout.run("postconf", "-h", "daemon_directory").strip()
        self.launch("postfix", f"{where}/master", "-c", self.layout.postfix, "-d")
        self.answers("postfix", lambda: _greets(self.layout.ports.smtp))

    def launch(self, name: str, *command: str | Path, log: str = "start.log") -> None:
        """Begin to start; nothing is waited for."""
        with (self.layout.root / log).open("a") as stream:
            process = subprocess.Popen(  # noqa: S603 - commands of ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=self.layout.env,
                cwd=self.layout.root,
                start_new_session=True,
            )
        self.processes[name] = process
        self._started(process.pid)

    def answers(self, name: str, condition: Callable[[], Any]) -> None:
        """Wait until `condition` is true; the process of that name must not end meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            ended = self.processes[name].poll() is not None
            if ended or time.monotonic() > deadline:
                why = "ended at once" if ended else f"does not answer in {PATIENCE:.0f} s"
                raise SandboxFailed(f"{name} {why}. {self.last_words()}")
            time.sleep(0.01)

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        """Send the whole group a signal that ends it, and wait until its first process is gone."""
        process = self.processes.pop(name)
        kill_group(process.pid, number)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            kill_group(process.pid, signal.SIGKILL)
            process.wait()

    def stop(self) -> None:
        """At once, last started first: Dovecot takes a second to end its processes itself."""
        for name in reversed(list(self.processes)):
            self.end(name, signal.SIGKILL)

    def logs(self) -> str:
        files = (self.layout.root / name for name in LOGS)
        return "".join(f.read_text(errors="replace") for f in files if f.exists())

    def last_words(self) -> str:
        """The ends of the logs, for a message."""
        return "\n".join(["The logs end with:", *self.logs().splitlines()[-12:]])


def kill_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _greets(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 5) as client:
        return bool(client.recv(4))
    return False
