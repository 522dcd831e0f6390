"""/api/v1/docs: the OpenAPI document for people, shown by Swagger UI from our own files.

The page works without any other host, and its Content-Security-Policy allows none: scripts, styles
and requests are this site's, nothing stands inline. Swagger UI 5.35.0 lies in static/swagger-ui as
npm's package swagger-ui-dist has it, with its licence (Apache-2.0).
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from .. import resources
from ..api.middleware import opened
from ..errors import NotFound
from . import pages

FILES: Final = {
    "docs.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui-bundle.js.LICENSE.txt": "text/plain",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


@opened
async def docs(request: web.Request) -> web.StreamResponse:
    """The page around Swagger UI."""
    response = pages.page("docs")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@opened
async def file(request: web.Request) -> web.StreamResponse:
    """One of the page's files; a browser may keep it, but asks each time whether it is the same."""
    name = request.match_info["key"]
    if name not in FILES:
        raise NotFound("There is no such file; see /api/v1/docs.")
    folder = "swagger-ui" if name.startswith("swagger-ui") else "."
    path = resources.path("web", "static", folder, name)
    response = web.FileResponse(path, headers={"Cache-Control": "no-cache"})
    response.content_type, response.charset = FILES[name], "utf-8"
    return response
