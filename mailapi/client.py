"""The commands' way to a running service: one request, its JSON, or an exception that says why not.

    service = of(config, key)           # the service of this configuration
    service = remote("https://mail.example.com", key)
    request(service, "GET", "/domains", query={"q": "example"})

Without a key the request goes over `[server] admin_socket`, where the service itself looks who
asks. Raises `Unreachable` where nothing answers, `Forbidden` where the socket may not be opened,
and for an error of the service the exception of its status, with the service's own message and the
fields at fault. Redirects are not followed: the key is for the one service that was named.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from yarl import URL

from .config import Config
from .errors import (
    ConfigError,
    Exists,
    FieldError,
    Forbidden,
    Invalid,
    MailapiError,
    NotFound,
    PreconditionFailed,
    Unauthorized,
    Unreachable,
)

BASE: Final = "/api/v1"
KINDS: Final[dict[int, type[MailapiError]]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Exists,
    412: PreconditionFailed,
}


@dataclass(frozen=True, slots=True)
class Service:
    """`url` ends with the base path; over the Unix `socket` if there is one; `key` None: none."""

    url: str
    socket: Path | None = None
    key: str | None = field(default=None, repr=False)


def of(config: Config, key: str | None) -> Service:
    """The service of this host. Raise `ConfigError` if there is neither a key nor a socket."""
    server = config.server
    socket = server.socket if key is not None else server.admin_socket
    if socket is not None:
        return Service(f"http://localhost{BASE}", socket, key)
    if key is None:
        raise ConfigError("[server] admin_socket is not set, and there is no API key.")
    host = f"[{server.host}]" if ":" in server.host else server.host
    return Service(f"http://{host}:{server.port}{BASE}", None, key)


def remote(url: str, key: str) -> Service:
    """The service at an URL, with or without its base path. Raise `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an URL such as https://mail.example.com")
    return Service(url.rstrip("/").removesuffix(BASE) + BASE, None, key)


def path(resource: str, name: str) -> str:
    """The path of one object."""
    return f"/{resource}/{quote(name, safe='@')}"


def request(
    service: Service,
    method: str,
    path: str,
    body: Any = None,
    query: Mapping[str, Any] | None = None,
) -> Any:
    """The JSON that the service answers to METHOD /api/v1/path."""
    url = f"{service.url}{path}" + (f"?{urlencode(query)}" if query else "")
    return asyncio.run(_request(service, method, URL(url, encoded=True), body))


async def _request(service: Service, method: str, url: URL, body: Any) -> Any:
    connector = aiohttp.UnixConnector(str(service.socket)) if service.socket else None
    headers = {"Authorization": f"Bearer {service.key}"} if service.key is not None else None
    try:
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers) as session,
            session.request(method, url, json=body, allow_redirects=False) as response,
        ):
            return _value(response.status, await response.read())
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, PermissionError):
            raise Forbidden(
                "You may not use the service's socket; run this as root or as a member of the "
                "group mailapi, or put an API key into MAILAPI_KEY."
            ) from None
        raise Unreachable from None
    except (aiohttp.ClientError, TimeoutError):
        raise Unreachable from None


def _value(status: int, raw: bytes) -> Any:
    try:
        value = json.loads(raw)
    except ValueError:
        raise Unreachable from None
    if isinstance(value, dict) and value.get("type") == "error":
        fields = [FieldError(item["field"], item["msg"]) for item in value.get("errors", [])]
        raise KINDS.get(status, MailapiError)(value.get("msg"), fields=fields)
    return value
