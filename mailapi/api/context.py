"""What the handlers share, and what belongs to one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from aiohttp import web

from ..apply import Writer
from ..caller import Caller
from ..database import Reader
from ..metrics import Metrics
from ..service import Changes
from ..syncdesk import Desk
from .auth import KeyRing
from .ratelimit import RateLimit, Window


@dataclass(frozen=True)
class Context:
    """The parts of the service that requests reach."""

    writer: Writer
    reader: Reader
    changes: Changes
    keys: KeyRing
    limit: RateLimit
    metrics: Metrics
    desk: Desk
    trusted_proxies: Sequence[IPv4Network | IPv6Network]
    admin_socket: Path | None = None


@dataclass
class Visit:
    """One request: its number, the client's address, who it is, and what is left of his limit."""

    request_id: str
    address: str
    caller: Caller | None = None
    window: Window | None = None


CONTEXT = web.AppKey("context", Context)
VISIT = web.RequestKey("visit", Visit)


def caller(request: web.Request) -> Caller:
    """Who calls; only behind a closed route."""
    found = request[VISIT].caller
    if found is None:
        raise RuntimeError("an open route asked who calls")
    return found
