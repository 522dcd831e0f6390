"""What the commands know of the objects: their fields as options, and the columns of their lists.

A test holds the fields together with the models of the API, so nothing of pydantic is needed to
print a help text. What `add` does not get and has no default for is left to the service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Field:
    """An option of `add` and `set`; `default` is that of `add`. A list may be given repeatedly."""

    name: str
    type: type
    help: str
    default: object = None
    required: bool = False
    only_set: bool = False


@dataclass(frozen=True, slots=True)
class Noun:
    """`name` is the command, `resource` the route, `argument` how an object is named."""

    name: str
    resource: str
    argument: str
    help: str
    columns: tuple[str, ...]
    fields: tuple[Field, ...] = ()
    switch: bool = True  # it has `active`
    limit: int = 0  # of a list, unless another is given; 0: all
    asks: str = ""  # the field with a password, which is never taken from argv
    cascade: bool = False


_ACTIVE: Final = Field("active", bool, "Switch it on or off.", True)
_DESCRIPTION: Final = Field("description", str, "Free text.")

DOMAIN: Final = Noun(
    "domain",
    "domains",
    "DOMAIN",
    "Domains: their limits, and whether they are on.",
    (
        "domain",
        "active",
        "backupmx",
        "mailboxes_used",
        "mailboxes",
        "aliases_used",
        "aliases",
        "quota_used",
        "quota",
        "description",
    ),
    (
        _ACTIVE,
        Field("mailboxes", int, "The most mailboxes; 0: none.", 10),
        Field("aliases", int, "The most aliases; 0: none.", 400),
        Field("defquota", int, "A new mailbox's quota, in MB.", 3072),
        Field("maxquota", int, "The largest quota of a mailbox, in MB.", 10240),
        Field("quota", int, "The most that its mailboxes' quotas may sum up to, in MB.", 10240),
        Field("backupmx", bool, "Relay to the primary MX instead of delivering here."),
        _DESCRIPTION,
    ),
    cascade=True,
)
MAILBOX: Final = Noun(
    "mailbox",
    "mailboxes",
    "ADDRESS",
    "Mailboxes: who gets mail here and may log in.",
    ("email", "name", "quota", "active", "force_pw_update", "tls_enforce_in", "tls_enforce_out"),
    (
        _ACTIVE,
        Field("name", str, "The owner's name.", ""),
        Field("quota", int, "In MB, 0: unlimited. A new mailbox's: the domain's defquota."),
        Field("force_pw_update", bool, "No log-in until the owner has set a new password."),
        Field("tls_enforce_in", bool, "Refuse mail that comes from outside without TLS."),
        Field("tls_enforce_out", bool, "Send its mail over TLS only."),
    ),
    asks="password",
)
ALIAS: Final = Noun(
    "alias",
    "aliases",
    "ALIAS",
    "Aliases, by their number or address; @DOMAIN is a catch-all.",
    ("id", "address", "goto", "active", "description"),
    (
        Field("address", str, "Its new address.", only_set=True),
        Field("goto", list, "Where its mail goes; repeat it, or use commas.", required=True),
        _ACTIVE,
        _DESCRIPTION,
    ),
)
SYNCJOB: Final = Noun(
    "syncjob",
    "syncjobs",
    "ID",
    "Sync jobs: mail that is fetched from elsewhere, again and again.",
    (
        *("id", "username", "host1", "user1", "active", "is_running", "exit_status"),
        *("last_run", "next_run", "messages"),
    ),
    (
        Field("host1", str, "The remote server's name or address.", required=True),
        Field("port1", int, "Its port; 993 for SSL, 143 for the others."),
        Field("user1", str, "The log-in there.", required=True),
        Field("enc1", str, "SSL, TLS (STARTTLS) or PLAIN.", "SSL"),
        Field("mins_interval", int, "Minutes between two runs.", 20),
        Field("subfolder2", str, "The folder to put everything under.", ""),
        Field("maxage", int, "Only messages that arrived in the last N days; 0 is all.", 0),
        Field("exclude", list, "A pattern of folders to leave out; repeat it. '' for none."),
        Field("delete2", bool, "What is gone there goes here, too."),
        _ACTIVE,
    ),
    asks="password1",
)
CHANGES: Final = Noun(
    "changes",
    "changes",
    "",
    "The change log: who changed what, newest first.",
    ("id", "generation", "at", "who", "action", "object", "name"),
    switch=False,
    limit=100,
)
