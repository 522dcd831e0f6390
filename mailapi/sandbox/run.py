"""From the start of a sandbox to its end: `run(directory, say)`.

It ends at SIGINT, SIGTERM or SIGHUP, and then returns; or when one of its servers ends by itself,
and then raises `SandboxFailed`. In any case its processes and files are gone. A signal that comes
while it starts counts as soon as a server answers; one that comes while it ends changes nothing.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

from .. import client, config, local
from ..errors import MailapiError, SandboxFailed
from .installed import Versions, versions
from .layout import Layout, free_ports, private_config, render
from .place import Place
from .servers import Servers
from .watchdog import Watchdog

HOSTNAME: Final = "mx.sandbox.test"
ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(directory: Path | None, say: Callable[[str], object]) -> None:
    """`say` is given the commands to try; raises `SandboxFailed` also where it cannot start."""
    here = versions()
    os.umask(0o022)  # the servers' users read what we write
    with Ends() as ends:
        place = Place(directory)
        watchdog = Watchdog(place)
        servers = Servers(_layout(place.root, here), watchdog.group)
        try:
            key = _start(servers, ends)
            if not ends.came():
                say(commands(servers.layout, key))
            ends.wait(servers)
        except SandboxFailed:
            if not ends.came():  # it may reach a process that has not left our group yet
                raise
        finally:
            servers.stop()
            place.remove()
            watchdog.dismiss()


class Ends:
    """The signals that end a sandbox, kept until they are asked for."""

    def __enter__(self) -> Ends:
        self._out, self._in = os.pipe()
        self._before = {number: signal.signal(number, self._came) for number in ENDS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._out)
        os.close(self._in)

    def _came(self, number: int, frame: FrameType | None) -> None:
        os.write(self._in, b".")

    def came(self) -> bool:
        return bool(select.select([self._out], [], [], 0)[0])

    def wait(self, servers: Servers) -> None:
        """Until one has come. Raise `SandboxFailed` if a server ends before."""
        watched = {os.pidfd_open(p.pid): name for name, p in servers.processes.items()}
        try:
            ready, _, _ = select.select([self._out, *watched], [], [])
        finally:
            for fd in watched:
                os.close(fd)
        if self._out not in ready:
            name = watched[ready[0]]
            raise SandboxFailed(f"{name} has ended, so the sandbox ends. {servers.last_words()}")


def _layout(root: Path, here: Versions) -> Layout:
    ports = free_ports()
    return Layout(root, private_config(root, HOSTNAME, ports.api), ports, here)


def _start(servers: Servers, ends: Ends) -> str:
    """All of them answer when this returns, unless the end has come; the admin key."""
    layout = servers.layout
    layout.write()
    (layout.root / "config.toml").write_text(config.show(layout.config), encoding="utf-8")
    key = local.add_key(layout.config, {"name": "sandbox", "scope": "admin"})
    for step in (servers.start_dovecot, servers.start_postfix, lambda: _serve(servers, key)):
        if not ends.came():
            step()
    return key


def _serve(servers: Servers, key: str) -> None:
    file = servers.layout.root / "config.toml"
    program = (sys.executable, "-P", "-m", "mailapi", "serve", "--config", file)
    servers.launch("mailapi", *program, log="mailapi.log")
    service = client.of(servers.layout.config, key)

    def ready() -> Any:
        try:
            return client.request(service, "GET", "/readyz")
        except MailapiError:
            return None

    servers.answers("mailapi", ready)


def commands(layout: Layout, key: str) -> str:
    """A script for sh(1): what can be tried, with the addresses and the key of this sandbox."""
    program = Path(sys.prefix) / "bin" / "mailapi"
    origin = f"http://{layout.config.server.host}:{layout.ports.api}"
    return render(
        "commands",
        root=layout.root,
        versions=layout.versions,
        ports=layout.ports,
        origin=origin,
        base=client.BASE,
        key=key,
        program=program if program.exists() else "mailapi",
    )
