"""Look-ups of host names, each in a thread of its own.

    await addresses("imap.example.org", 993)    # in the system's order

A name server that hangs holds up no other look-up, and not the end of this process: neither the
loop's own threads nor a pool would let it go. An address is not looked up.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from ipaddress import ip_address
from typing import Final

from .faults import SyncFault

SECONDS: Final = 8.0
THREADS: Final = 100
_NAME: Final = "look-up"


async def addresses(host: str, port: int) -> list[str]:
    """Raise `SyncFault`, and `TimeoutError` where no answer comes."""
    with contextlib.suppress(ValueError):
        return [str(ip_address(host))]
    if sum(thread.name == _NAME for thread in threading.enumerate()) >= THREADS:
        raise TimeoutError
    found: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
    threading.Thread(target=_look, args=(host, port, found), name=_NAME, daemon=True).start()
    async with asyncio.timeout(SECONDS):
        if not await found:
            raise SyncFault("host_not_found")
    return found.result()


def _look(host: str, port: int, found: asyncio.Future[list[str]]) -> None:
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        rows = []
    result = list(dict.fromkeys(str(row[4][0]) for row in rows))
    with contextlib.suppress(RuntimeError):  # the loop has ended
        found.get_loop().call_soon_threadsafe(_settle, found, result)


def _settle(found: asyncio.Future[list[str]], result: list[str]) -> None:
    if not found.done():
        found.set_result(result)
