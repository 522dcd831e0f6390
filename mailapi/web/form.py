"""The form of /password as a browser sends it: application/x-www-form-urlencoded in UTF-8.

`received` reads it, `Form.errors` says which fields are at fault, from their text alone: whether
there is such a mailbox plays no part. What is refused is not repeated but for the address, which
goes back into its field.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from .. import addresses, passwords
from ..api import writes
from ..errors import Forbidden, Malformed, TooLarge, UnsupportedMediaType

LARGEST: Final = 10_000  # octets
_NAMES: Final = ("email", "current", "new", "repeated")
_MEDIA_TYPE: Final = re.compile(
    r"application/x-www-form-urlencoded[ \t]*(;[ \t]*charset=utf-8[ \t]*)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Form:
    """The fields as typed; one that was not sent is empty."""

    email: str = ""
    current: str = field(default="", repr=False)
    new: str = field(default="", repr=False)
    repeated: str = field(default="", repr=False)

    @property
    def address(self) -> str | None:
        """The address in normal form, if it is one."""
        try:
            return addresses.address(self.email.strip())
        except ValueError:
            return None

    def errors(self, min_length: int) -> dict[str, str]:
        """What each field at fault must be, in the order of the fields."""
        found = {}
        if self.address is None:
            found["email"] = "Enter your full e-mail address, such as user@example.com."
        if not self.current:
            found["current"] = "Enter your current password."
        try:
            passwords.check(self.new, min_length)
        except ValueError:
            found["new"] = (
                f"Enter a new password of at least {min_length} characters."
                if len(self.new) < min_length
                else f"Enter a new password of at most {passwords.MAX_BYTES} characters (accented "
                "letters and other scripts count as two or more), and not only blanks."
            )
        else:
            if self.new == self.current:
                found["new"] = "Enter a new password that is not the current one."
            elif self.repeated != self.new:
                found["repeated"] = "Enter the new password again, the same as above."
        return found


async def received(request: web.Request) -> Form:
    """Raise `Forbidden` for a form of another site, and what the API raises for its bodies."""
    if not _own(request):
        raise Forbidden("This form was sent by another site; open the page itself.")
    if not _MEDIA_TYPE.fullmatch(request.headers.get("Content-Type", "")):
        raise UnsupportedMediaType("This is not the form of the page; open the page itself.")
    try:
        raw = await writes.received(request)
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge("The form is too large.") from None
    if len(raw) > LARGEST:
        raise TooLarge("The form is too large.")
    try:
        fields = parse_qsl(
            raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=len(_NAMES)
        )
    except ValueError:
        raise Malformed("The form cannot be read; open the page again.") from None
    if len(dict(fields)) != len(fields) or not dict(fields).keys() <= set(_NAMES):
        raise Malformed("The form cannot be read; open the page again.")
    return Form(**dict(fields))


def _own(request: web.Request) -> bool:
    """Whether the page itself sent the form, as far as the browser tells (Fetch Metadata, Origin).

    What tells nothing is no browser. There are no cookies: another site could do no harm anyway.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("Host", "")
