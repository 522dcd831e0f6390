"""Domains, mailboxes and aliases, live on a `Bed` as soon as a method returns.

`ByHand` renders and publishes a whole state itself, without the service.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import Any

import bcrypt
from bed import Bed

from mailapi import render
from mailapi.entries import FILES, entries
from mailapi.publish import Publisher
from mailapi.snapshot import Alias, Domain, Mailbox, Snapshot
from mailapi.text import sort_key

PASSWORD = "correct horse"
_numbers = itertools.count(1)


class ByHand:
    def __init__(self, bed: Bed) -> None:
        here = bed.config
        self._publisher = Publisher(
            here.postfix.directory, here.dovecot.directory, here.postfix.map_type
        )
        self._bed = bed
        self._renderer = render.Renderer()
        self._domains: dict[str, Domain] = {}
        self._mailboxes: dict[str, Mailbox] = {}
        self._aliases: dict[str, Alias] = {}
        self._publish()

    def close(self) -> None:
        self._publisher.close()

    def domain(self, name: str = "", active: bool = True, backupmx: bool = False) -> str:
        """A new domain; without a name, of a name that no other test uses."""
        name = name or f"d{next(_numbers)}.example"
        self._domains[name] = Domain(name, active, backupmx, listed=False)
        self._publish()
        return name

    def mailbox(
        self,
        email: str,
        password: str = PASSWORD,
        quota: int = 0,
        active: bool = True,
        force_pw_update: bool = False,
        tls_enforce_in: bool = False,
        tls_enforce_out: bool = False,
    ) -> str:
        self._mailboxes[email] = Mailbox(
            email,
            email.partition("@")[2],
            active,
            force_pw_update,
            tls_enforce_in,
            tls_enforce_out,
            quota,
            next(_numbers),
            _hash(password),
        )
        self._publish()
        return email

    def alias(self, address: str, *goto: str, active: bool = True) -> str:
        self._aliases[address] = Alias(address, address.partition("@")[2], active, goto)
        self._publish()
        return address

    def set_domain(self, name: str, **fields: Any) -> None:
        self._domains[name] = replace(self._domains[name], **fields)
        self._publish()

    def set_mailbox(self, email: str, **fields: Any) -> None:
        names = {"password": "password_hash", "force_pw_update": "locked"}
        names |= {"tls_enforce_in": "tls_in", "tls_enforce_out": "tls_out"}
        if "password" in fields:
            fields["password"] = _hash(fields["password"])
        fields = {names.get(name, name): value for name, value in fields.items()}
        self._mailboxes[email] = replace(
            self._mailboxes[email], generation=next(_numbers), **fields
        )
        self._publish()

    def set_alias(self, address: str, **fields: Any) -> None:
        self._aliases[address] = replace(self._aliases[address], **fields)
        self._publish()

    def _publish(self) -> None:
        members = [*self._mailboxes.values(), *self._aliases.values()]
        listed = {member.domain for member in members}
        self._domains = {n: replace(d, listed=n in listed) for n, d in self._domains.items()}
        snapshot = Snapshot(self._domains, self._mailboxes, self._aliases)
        names = {*self._domains, *(f"@{name}" for name in self._domains)}
        names |= {*self._mailboxes, *self._aliases}
        ordered = sorted(names, key=lambda name: sort_key(name.encode()))
        rows = entries(snapshot, ordered)
        changed = self._publisher.load(
            {file.name: b"".join(self._renderer.lines(file, rows[file.name])) for file in FILES}
        )
        if "users" in changed:  # Dovecot looks at the file once in each second of the clock
            time.sleep(1.01 - time.time() % 1)


def _hash(password: str) -> str:
    return "{BLF-CRYPT}" + bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
