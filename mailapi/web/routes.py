"""The routes of the pages; `install` adds them, and what they keep, to the application."""

from __future__ import annotations

from aiohttp import web

from ..config import Config
from . import docs, password


def install(app: web.Application, config: Config) -> None:
    limit = config.rate_limit
    app[password.TRIES] = password.Tries(limit.auth_failures, limit.period)
    app[password.MIN_LENGTH] = config.passwords.min_length
    app.add_routes(
        [
            web.get("/api/v1/docs", docs.docs),
            web.get("/api/v1/docs/{key}", docs.file),
            web.get("/password", password.show),
            web.post("/password", password.change),
            web.get("/.well-known/change-password", password.well_known),
        ]
    )
