"""The table of routes: every path and method that the service answers."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from . import batch, protocol, reads, status, syncjobs
from .openapi import openapi
from .writes import write

BASE: Final = "/api/v1"
RESOURCES: Final = ("domains", "mailboxes", "aliases", "syncjobs")


def routes() -> list[web.RouteDef]:
    """All of them; also what answers requests that match none because they are no HTTP."""
    protocol.install()
    table = [
        web.get(f"{BASE}/changes", reads.many("changes")),
        web.get(f"{BASE}/status", status.status),
        web.post(f"{BASE}/apply", status.apply),
        web.post(f"{BASE}/batch", batch.batch),
        web.get(f"{BASE}/openapi.json", openapi),
        web.get(f"{BASE}/healthz", status.healthz),
        web.get(f"{BASE}/readyz", status.readyz),
        web.get("/metrics", status.prometheus),
        web.post(f"{BASE}/syncjobs/{{key}}/run", syncjobs.run),
        web.get(f"{BASE}/syncjobs/{{key}}/runs", syncjobs.runs),
    ]
    for resource in (*RESOURCES, "keys"):
        path = f"{BASE}/{resource}"
        handler = write(resource)
        create = syncjobs.create if resource == "syncjobs" else handler
        table += [
            web.get(path, reads.many(resource)),
            web.post(path, create),
            web.get(f"{path}/{{key}}", reads.one(resource)),
            web.delete(f"{path}/{{key}}", handler),
        ]
        if resource != "keys":
            table.append(web.put(f"{path}/{{key}}", handler))
    return table
