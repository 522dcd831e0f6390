from __future__ import annotations

from aiohttp import web

from .middleware import opened


@opened
async def openapi(request: web.Request) -> web.StreamResponse:
    return web.json_response({})
