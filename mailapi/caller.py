"""Who calls, and what he may do: the API key's scope and domains, or a local administrator.

`read` reads; `write` also changes domains, mailboxes, aliases and sync jobs; `admin` also manages
keys. A caller limited to domains manages what is in these domains and reads them, nothing else.
"""

from __future__ import annotations

import pwd
from dataclasses import dataclass

from .errors import Forbidden


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` stands in the change log; `domains` empty means all."""

    id: str
    name: str
    scope: str
    domains: tuple[str, ...] = ()

    @property
    def unrestricted(self) -> bool:
        return not self.domains

    def covers(self, domain: str) -> bool:
        return self.unrestricted or domain in self.domains

    def reads(self, domain: str | None = None) -> None:
        """May it read what is in `domain`, or (None) what belongs to no domain? Or `Forbidden`."""
        if not (self.unrestricted if domain is None else self.covers(domain)):
            raise Forbidden("This API key is limited to other domains.")

    def writes(self, domain: str | None = None) -> None:
        """May it change what is in `domain`, or (None) the domains themselves? Or `Forbidden`."""
        self.writes_something()
        self.reads(domain)

    def writes_something(self) -> None:
        """May it change anything at all? Or `Forbidden`."""
        if self.scope not in ("write", "admin"):
            raise Forbidden("This API key may only read; use one of scope write.")

    def administers(self) -> None:
        """May it manage keys? Or `Forbidden`."""
        if self.scope != "admin" or not self.unrestricted:
            raise Forbidden("Only an API key of scope admin may do this.")


def administrator(username: str) -> Caller:
    """A user of this host who needs no key; so he stands in the change log."""
    return Caller(f"local:{username}", f"local:{username}", "admin")


def username(uid: int) -> str:
    """The user's name, or its number where the user database has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
