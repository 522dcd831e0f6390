"""Who is at the other end of the administrators' socket, and needs no key there.

`[server] admin_socket` is a Unix socket of its own. A request is known to come over it by the name
of the transport's socket, never by what the request says. The kernel tells who connected
(SO_PEERCRED, unix(7)): root, the service's own user, and the members of the group `mailapi`, by
their group or by the group database, may do everything. They are looked up for each request, so a
member who is taken out of the group is refused from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import shutil
import socket
import struct
from pathlib import Path
from typing import Final

from aiohttp import web

from ..caller import Caller, administrator, username

GROUP: Final = "mailapi"
_UCRED: Final = struct.Struct("3i")  # pid, uid, gid


def local_caller(request: web.Request, admin_socket: Path | None) -> Caller | None:
    """The local administrator `local:USERNAME`; None for everybody else."""
    transport = request.transport
    if admin_socket is None or transport is None:
        return None
    if transport.get_extra_info("sockname") != str(admin_socket):
        return None
    uid, gid = _credentials(transport)
    name = username(uid)
    return administrator(name) if _admitted(uid, gid, name) else None


def user(transport: asyncio.BaseTransport) -> int:
    """The user of the process that connected."""
    return _credentials(transport)[0]


def process(transport: asyncio.BaseTransport) -> int:
    """The process that connected; 0 if it cannot be seen from here."""
    return _peer(transport)[0]


def restrict(path: Path) -> None:
    """Give the bound socket its mode, 0660, and where that is permitted its group. Or `OSError`.

    Both only spare others a refusal: who may do what is decided by `local_caller`.
    """
    path.chmod(0o660)
    with contextlib.suppress(LookupError, PermissionError):
        shutil.chown(path, group=GROUP)


def _credentials(transport: asyncio.BaseTransport) -> tuple[int, int]:
    """The user and group of the process that connected."""
    _, uid, gid = _peer(transport)
    return uid, gid


def _peer(transport: asyncio.BaseTransport) -> tuple[int, int, int]:
    peer = transport.get_extra_info("socket")
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    return pid, uid, gid


def _admitted(uid: int, gid: int, name: str) -> bool:
    if uid in (0, os.geteuid()):
        return True
    try:
        group = grp.getgrnam(GROUP)
    except KeyError:
        return False
    return gid == group.gr_gid or name in group.gr_mem
