"""The commands' way to a running service: one request, its JSON, or an exception that says why not.

Raises `Unreachable` where nothing answers, and for an error of the service the exception of its
status, with the service's own message.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from .config import Config
from .errors import Exists, Forbidden, MailapiError, NotFound, Unauthorized, Unreachable

KINDS: dict[int, type[MailapiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Exists,
}


def request(config: Config, method: str, path: str, key: str, body: Any = None) -> Any:
    """The JSON that the service of `config` answers to METHOD /api/v1/path."""
    return asyncio.run(_request(config, method, path, key, body))


async def _request(config: Config, method: str, path: str, key: str, body: Any) -> Any:
    server = config.server
    connector = aiohttp.UnixConnector(str(server.socket)) if server.socket else None
    host = f"[{server.host}]" if ":" in server.host else server.host
    url = f"http://{'localhost' if server.socket else host}:{server.port}/api/v1{path}"
    headers = {"Authorization": f"Bearer {key}"}
    try:
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers) as session,
            session.request(method, url, json=body) as response,
        ):
            return _value(response.status, await response.read())
    except (aiohttp.ClientError, TimeoutError):
        raise Unreachable from None


def _value(status: int, raw: bytes) -> Any:
    try:
        value = json.loads(raw)
    except ValueError:
        raise Unreachable from None
    if isinstance(value, dict) and value.get("type") == "error":
        raise KINDS.get(status, MailapiError)(value.get("msg"))
    return value
