"""Answers to what is no HTTP, and to what fails around the middleware.

Such requests never reach a handler of ours. aiohttp's own answer, and its log, repeat the octets at
fault, among which may be a key or a password; `install` puts ours in their place, for which aiohttp
has no setting. The connection is closed afterwards.
"""

from __future__ import annotations

import logging
import secrets

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ..errors import MailapiError, Malformed
from . import answers

_log = structlog.get_logger("mailapi.http")


def install() -> None:
    """For all servers of this process."""
    logging.getLogger("aiohttp.server").addFilter(_without_text)
    RequestHandler.handle_error = handle_error  # type: ignore[assignment, method-assign]  # see above


def handle_error(
    handler: RequestHandler,
    request: web.BaseRequest,
    status: int = 500,
    exc: BaseException | None = None,
    message: str | None = None,
) -> web.StreamResponse:
    """In place of aiohttp's; `message` and the text of `exc` are not used: they repeat input.

    Raise `ConnectionError` if an answer is under way already.
    """
    number = secrets.token_hex(8)
    log = _log.info if status < 500 else _log.error
    log("not served", status=status, kind=type(exc).__name__, client=request.remote, number=number)
    if request.writer.output_size > 0:
        raise ConnectionError("an answer is under way")
    known = Malformed("The request is not HTTP/1.1 as RFC 9112 defines it; mend the client.")
    response = answers.error(known if status < 500 else MailapiError())
    response.headers["X-Request-Id"] = number
    response.force_close()
    return response


def _without_text(record: logging.LogRecord) -> bool:
    """Of aiohttp's exceptions only the kind: a broken chunk's text is a piece of a body."""
    if record.exc_info and record.exc_info[0] is not None:
        record.msg = f"{record.msg}: {record.exc_info[0].__name__}"
        record.exc_info = record.exc_text = None
    return True
