"""What a service under systemd owes it: that it is ready, that it is alive, that it stops.

    sock = listening()              # the socket that systemd opened for us, or None
    async with ready(alive):        # READY=1; WATCHDOG=1 while alive(); STOPPING=1 at the end
        await stop.wait()

Without the variables of the environment that systemd sets, nothing happens. A message that cannot
be sent is dropped: systemd does what its unit says about a service that is silent.

Sources: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Final

from .errors import ConfigError

_FIRST: Final = 3  # the descriptor that sd_listen_fds(3) begins with


def notify(message: str) -> None:
    """Send `message`, such as READY=1, to who started us."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if where[:1] not in ("/", "@"):
        return
    address = f"\0{where[1:]}" if where[0] == "@" else where
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(message.encode(), address)


def listening() -> socket.socket | None:
    """The listening socket that was handed over; raises ConfigError if there are several."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if os.environ.get("LISTEN_FDS") != "1":
        raise ConfigError("Exactly one socket can be handed over; mend the .socket unit.")
    given = socket.socket(fileno=_FIRST)
    given.setblocking(False)
    os.set_inheritable(_FIRST, False)
    return given


@contextlib.asynccontextmanager
async def ready(alive: Callable[[], bool]) -> AsyncIterator[None]:
    """Requests are answered from here on; the watchdog is told so in the event loop."""
    notify("READY=1")
    watching = asyncio.create_task(_watch(alive, _watchdog()))
    try:
        yield
    finally:
        watching.cancel()
        notify("STOPPING=1")


def _watchdog() -> float:
    """Seconds after which systemd wants to have heard of us; 0 if it does not watch."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0
    usec = os.environ.get("WATCHDOG_USEC", "")
    return int(usec) / 1_000_000 if usec.isdecimal() else 0


async def _watch(alive: Callable[[], bool], seconds: float) -> None:
    """As long as it is not alive nothing is sent, and systemd ends it in the end."""
    while seconds:
        if alive():
            notify("WATCHDOG=1")
        await asyncio.sleep(seconds / 3)
