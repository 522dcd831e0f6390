"""What stands in which file: a snapshot and the touched names -> rows for the templates.

A name is a domain (`example.com`), an address or a catch-all (`@example.com`). For each name and
file there is one row or none. `FILES` lists the files in the order in which they are published, so
that no moment exists in which a domain is accepted and its users are unknown.

The cases that need a word:
- Where Postfix finds no row of an address it looks for the address without its +tag, then for the
  domain (virtual(5), access(5), postconf(5)). What it finds there is not always meant: so a
  catch-all would take the mail of real mailboxes, and each of them gets an entry to itself.
- For the same reason an address that is switched off, or leads nowhere, gets a 550 where its mail
  would go elsewhere; one that only the catch-all's readers could send as belongs to a log-in of its
  own name, which nobody has; and DUNNO ends the search where the next row wants TLS or refuses.
- The domain of a catch-all whose target wants TLS is a key of `recipient_access` itself. That must
  not apply to its subdomains: postconf(5), parent_domain_matches_subdomains.
- The aliases of a backup MX domain are recipients to relay to; the primary MX expands them. Its
  users send elsewhere, so none of its addresses has an owner among our log-ins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .passwords import UNMATCHABLE
from .snapshot import Alias, Domain, Mailbox, Snapshot

Row = tuple[Any, ...]
Rows = dict[str, list[Row]]


@dataclass(frozen=True, slots=True)
class File:
    """One rendered file: its server, its name, and what ends a key in it."""

    server: str
    name: str
    separator: bytes = b" "

    def key(self, name: str) -> bytes:
        """The key as it stands in the file: Dovecot looks for `'` behind a backslash."""
        return (name.replace("'", "\\'") if self.server == "dovecot" else name).encode()


USERS = File("dovecot", "users", b":")
VIRTUAL_MAILBOX_DOMAINS = File("postfix", "virtual_mailbox_domains")
TRANSPORTS = File("postfix", "sender_dependent_default_transport_maps")
RELAY_DOMAINS = File("postfix", "relay_domains")
FILES = (
    USERS,
    File("postfix", "virtual_mailbox_maps"),
    File("postfix", "relay_recipient_maps"),
    File("postfix", "smtpd_sender_login_maps"),
    File("postfix", "recipient_access"),
    TRANSPORTS,
    File("postfix", "virtual_alias_maps"),
    RELAY_DOMAINS,
    VIRTUAL_MAILBOX_DOMAINS,
)
DOMAIN_FILES = (RELAY_DOMAINS, VIRTUAL_MAILBOX_DOMAINS)

# Actions of recipient_access and of the transport map; their templates have the words for them.
TLS, OFF, PASS = "tls", "off", "pass"


def entries(snapshot: Snapshot, names: Iterable[str]) -> Rows:
    """The rows of each file for `names`, in their order. A name without one is not in the file."""
    rows: Rows = {file.name: [] for file in FILES}

    def put(file: str, *row: Any) -> None:
        rows[file].append(row)

    for name in names:
        domain = snapshot.domains.get(name.rpartition("@")[2])
        if domain is None or not domain.active:
            continue
        if "@" not in name:
            _domain(put, snapshot, domain)
        elif name in snapshot.mailboxes:
            _mailbox(put, snapshot, domain, snapshot.mailboxes[name])
            _access(put, snapshot, domain, name)
        elif name in snapshot.aliases:
            _alias(put, snapshot, domain, snapshot.aliases[name])
            _access(put, snapshot, domain, name)
        elif name.startswith("@") and domain.relay and not domain.listed:
            put("relay_recipient_maps", name)
    return rows


Put = Callable[..., None]


def _domain(put: Put, snapshot: Snapshot, domain: Domain) -> None:
    put("relay_domains" if domain.backupmx else "virtual_mailbox_domains", domain.name)
    if snapshot.tls_in(f"@{domain.name}"):
        put("recipient_access", domain.name, TLS)


def _mailbox(put: Put, snapshot: Snapshot, domain: Domain, mailbox: Mailbox) -> None:
    if domain.local and snapshot.catch_all(domain.name):
        put("virtual_alias_maps", mailbox.email, (mailbox.email,))
    if mailbox.active and domain.relay:
        put("relay_recipient_maps", mailbox.email)
    elif mailbox.active:
        put("virtual_mailbox_maps", mailbox.email)
        secret = UNMATCHABLE if mailbox.locked else mailbox.password_hash
        put("users", mailbox.email, secret, mailbox.quota, mailbox.generation)


def _alias(put: Put, snapshot: Snapshot, domain: Domain, alias: Alias) -> None:
    if alias.active and domain.relay:
        put("relay_recipient_maps", alias.address)
    elif alias.active and (targets := snapshot.live_targets(alias)):
        put("virtual_alias_maps", alias.address, targets)


def _access(put: Put, snapshot: Snapshot, domain: Domain, name: str) -> None:
    """Who may send to the address, who as it, and which way its mail leaves."""
    behind = snapshot.behind(name)
    action = _action(snapshot, name)
    if not action and snapshot.live(name) and any(_action(snapshot, other) for other in behind):
        action = PASS
    if action and not name.startswith("@"):  # a catch-all's key is the domain
        put("recipient_access", name, action)
    if domain.relay:
        return
    logins = snapshot.logins(name)
    if logins or any(map(snapshot.logins, behind)):
        put("smtpd_sender_login_maps", name, logins or (name,))
    if snapshot.tls_out(name):
        put("sender_dependent_default_transport_maps", name, TLS)
    elif logins and any(map(snapshot.tls_out, behind)):
        put("sender_dependent_default_transport_maps", name, PASS)


def _action(snapshot: Snapshot, name: str) -> str | None:
    """What must stop mail to the address."""
    if snapshot.live(name):
        return TLS if snapshot.tls_in(name) else None
    behind = snapshot.behind(name)
    return OFF if behind and snapshot.live(behind[0]) else None
