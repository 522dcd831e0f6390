"""HTML pages from templates/web, for a browser that may load nothing else.

Every value is escaped. A page holds its style and no script; its Content-Security-Policy allows
that style by its hash, forms to this site, and no frame around it. The referrer policy is the
strictest with which browsers still tell the origin of a form.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Final

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import resources
from ..api import answers
from ..errors import MailapiError

_NEXT: Final = "Try again"


def page(template: str, status: int = 200, /, **values: object) -> web.Response:
    """The page of a template."""
    text = _environment().get_template(f"{template}.j2").render(values)
    response = web.Response(text=text, status=status, content_type="text/html", charset="utf-8")
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src '{_style_hash()}'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def message(headline: str, *paragraphs: str, status: int = 200, link: str = _NEXT) -> web.Response:
    """A headline and what there is to say; the link leads to the form."""
    return page("message", status, headline=headline, paragraphs=paragraphs, link=link)


def error(exception: Exception) -> web.Response:
    """The page for an exception, with the status and headers that it has in the API."""
    known = answers.error(exception)
    text = MailapiError.default if known.status == 500 else str(exception)
    response = message("That did not work", text, status=known.status)
    if "Retry-After" in known.headers:
        response.headers["Retry-After"] = known.headers["Retry-After"]
    return response


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(resources.path("templates", "web")),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style"] = Markup(_style())  # noqa: S704 - our own file
    return environment


@cache
def _style() -> str:
    return resources.path("templates", "web", "style.css").read_text(encoding="ascii")


@cache
def _style_hash() -> str:
    """CSP Level 3, section 2.3.1: of the octets between the tags."""
    return f"sha256-{base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()}"
