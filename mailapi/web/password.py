"""/password: where a mailbox's owner changes the password, with `force_pw_update` and without.

The change goes the way of every change, through the writer; the log calls its author `owner`. The
answer comes when it is live. Nobody learns here whether there is a mailbox: an unknown address, a
mailbox or domain that is switched off and a wrong password get one text, after the work of one
hash, and not before the next full second since the request came, because hashes that were taken
over from elsewhere may cost less than ours.

Guessing is limited by client and by mailbox, whether there is one or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator
from functools import partial
from typing import Final

from aiohttp import web

from .. import addresses
from ..api.context import CONTEXT, VISIT
from ..api.middleware import failing, opened
from ..api.ratelimit import RateLimit
from ..apply import Committed
from ..batch import Job
from ..caller import Caller
from ..errors import Busy, Forbidden, NotLive, RateLimited
from ..rules import mailboxes
from . import pages
from .form import Form, received

PACE: Final = 1.0  # seconds; a refusal comes after a whole number of these
MOST: Final = 32  # passwords verified at a time, so that the API keeps most of the hashes' queue
MAILBOX_TRIES: Final = 10
MAILBOX_PERIOD: Final = 900  # seconds
_REFUSED: Final = (
    "The address or the current password is wrong. Mailboxes that are switched off cannot be used."
)


class Tries:
    """How often a password may be tried: by a client as often as wrong API keys (0: any number).

    And for a mailbox, whoever tries.
    """

    def __init__(self, tries: int, period: int) -> None:
        self._clients = RateLimit(tries, period, 0)
        self._mailboxes = RateLimit(MAILBOX_TRIES if tries else 0, MAILBOX_PERIOD, 0)
        self._running = 0

    @contextlib.contextmanager
    def one(self, client: str, email: str) -> Iterator[None]:
        """Count a try before it is made. Raise `RateLimited`, or `Busy` if too many are running."""
        for windows, identity in ((self._clients, client), (self._mailboxes, email)):
            window = windows.hit(identity)
            if window is not None and not window.allowed:
                wait = max(1, math.ceil(window.reset - time.time()))
                raise RateLimited("Too many tries. Wait a while, then try again.", retry_after=wait)
        if self._running >= MOST:
            raise Busy("Too many people change their passwords now. Try again.", retry_after=5)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


TRIES: Final = web.AppKey("tries", Tries)
MIN_LENGTH: Final = web.AppKey("min_length", int)


@opened
@failing(pages.error)
async def show(request: web.Request) -> web.StreamResponse:
    """The empty form."""
    return _form(request, Form(), {})


@opened
@failing(pages.error)
async def change(request: web.Request) -> web.StreamResponse:
    """Change the password, or show the form with what is wrong."""
    form = await received(request)
    email = form.address
    if (errors := form.errors(request.app[MIN_LENGTH])) or email is None:
        return _form(request, form, errors, 400)
    begin = time.monotonic()
    try:
        with request.app[TRIES].one(request[VISIT].address, email):
            committed = await _stored(request, email, form)
    except Forbidden:
        await asyncio.sleep(PACE - (time.monotonic() - begin) % PACE)
        return _form(request, form, {"current": _REFUSED}, 403)
    return _done(email, await committed.live())


@opened
async def well_known(request: web.Request) -> web.StreamResponse:
    """Where password programs look for the page (W3C, A Well-Known URL for Changing Passwords)."""
    return web.Response(status=302, headers={"Location": "/password"})


async def _stored(request: web.Request, email: str, form: Form) -> Committed:
    """Make the change. Raise `Forbidden` if it is not the owner who asks for it."""
    context = request.app[CONTEXT]
    stored = await context.reader.run(partial(mailboxes.owned, email=email))
    rule = await context.changes.renew_password(email, stored, form.current, form.new)
    owner = Caller("owner", "owner", "write", (addresses.split(email)[1],))
    return await context.writer.submit(Job([rule], owner, request[VISIT].request_id))


def _done(email: str, problem: NotLive | None) -> web.Response:
    link = "Change another password"
    if problem is None:
        return pages.message(
            "Your password has been changed",
            f"The new password of {email} works from now on.",
            "Enter it in every mail program and telephone that uses this mailbox.",
            link=link,
        )
    return pages.message(
        "Your new password is stored",
        f"The mail server does not know the new password of {email} yet. It will soon, and you "
        "need not do anything for it; until then, only the old one works.",
        status=202,
        link=link,
    )


def _form(
    request: web.Request, form: Form, errors: dict[str, str], status: int = 200
) -> web.Response:
    return pages.page(
        "password", status, email=form.email, errors=errors, min_length=request.app[MIN_LENGTH]
    )
