"""Frozen rows, as rendering needs them, and what follows from them for one address.

A snapshot holds the touched addresses and everything their aliases lead to. It answers what the
rendered files are made of: does an address get mail, who may send as it, must its mail come over
TLS. It knows no SQL and no files. `repr` never shows a hash.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .addresses import base, split


@dataclass(frozen=True, slots=True)
class Domain:
    name: str
    active: bool
    backupmx: bool
    listed: bool  # it has mailboxes or aliases

    @property
    def local(self) -> bool:
        """Mail is delivered here."""
        return self.active and not self.backupmx

    @property
    def relay(self) -> bool:
        """Mail is passed on to another MX."""
        return self.active and self.backupmx


@dataclass(frozen=True, slots=True)
class Mailbox:
    email: str
    domain: str
    active: bool
    locked: bool  # gets mail, may not log in
    tls_in: bool
    tls_out: bool
    quota: int  # MB, 0 = unlimited
    generation: int
    password_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Alias:
    address: str
    domain: str
    active: bool
    targets: tuple[str, ...]


FOREIGN = object()


@dataclass(frozen=True)
class Snapshot:
    """Rows by name; a name that is not in here does not exist."""

    domains: dict[str, Domain]
    mailboxes: dict[str, Mailbox]
    aliases: dict[str, Alias]
    # What was worked out already: by target, and by alias.
    _found: dict[str, Mailbox | Alias | object | None] = field(
        default_factory=dict, init=False, repr=False
    )
    _below: dict[str, set[str]] = field(default_factory=dict, init=False, repr=False)
    _live: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False)
    _reached: dict[str, tuple[Mailbox, ...]] = field(default_factory=dict, init=False, repr=False)

    def find(self, target: str) -> Mailbox | Alias | object | None:
        """What mail to `target` reaches: itself, without its +tag, or the domain's catch-all.

        `FOREIGN` for a domain that is not ours, None where nothing takes it.
        """
        if target not in self._found:
            self._found[target] = self._find(target)
        return self._found[target]

    def _find(self, target: str) -> Mailbox | Alias | object | None:
        domain = split(target)[1]
        if domain not in self.domains:
            return FOREIGN
        folded = target.lower()
        found = self._at(folded)
        if found is None and "+" in folded:
            found = self._at(base(folded))
        return found or self.aliases.get(f"@{domain}")

    def _at(self, name: str) -> Mailbox | Alias | None:
        return self.mailboxes.get(name) or self.aliases.get(name)

    def _is_on(self, found: Mailbox | Alias) -> bool:
        return found.active and self.domains[found.domain].active

    def behind(self, name: str) -> tuple[str, ...]:
        """Where Postfix looks on if it finds no row of `name`: without its +tag, the catch-all.

        Only those that are there.
        """
        catch_all = f"@{split(name)[1]}"
        others = (base(name), catch_all) if "+" in name else (catch_all,)
        return tuple(other for other in others if other != name and self._at(other))

    def live(self, target: str) -> bool:
        """Would mail to `target` be accepted and get somewhere?"""
        found = self.find(target)
        if found is FOREIGN:
            return True
        domain = self.domains[split(target)[1]]
        if isinstance(found, Alias) and domain.local:
            return found.active and bool(self.live_targets(found))
        if isinstance(found, Mailbox | Alias):
            return self._is_on(found)
        return domain.relay and not domain.listed

    def live_targets(self, alias: Alias) -> tuple[str, ...]:
        """The targets that mail to the alias goes to, in their order: none that lead back to it."""
        known = self._live.get(alias.address)
        if known is None:
            known = tuple(target for target in self._onward(alias) if self.live(target))
            self._live[alias.address] = known
        return known

    def _onward(self, alias: Alias) -> Iterable[str]:
        """The targets that do not lead back to the alias: Postfix would defer such mail."""
        if alias.address not in self._all_below(alias):
            return alias.targets
        return [target for target in alias.targets if not self._leads_to(target, alias)]

    def _leads_to(self, target: str, alias: Alias) -> bool:
        found = self.find(target)
        return isinstance(found, Alias) and alias.address in self._all_below(found)

    def _all_below(self, alias: Alias) -> set[str]:
        """The aliases that mail to this one would pass through."""
        known = self._below.get(alias.address)
        if known is None:
            known, queue = set(), [alias]
            while queue:
                found = [self.find(target) for target in queue.pop().targets]
                new = [a for a in found if isinstance(a, Alias) and self._is_on(a)]
                queue += [a for a in new if a.address not in known]
                known |= {a.address for a in new}
            self._below[alias.address] = known
        return known

    def catch_all(self, domain: str) -> Alias | None:
        """The domain's catch-all, if it takes mail."""
        alias = self.aliases.get(f"@{domain}")
        return alias if alias and self.live(alias.address) else None

    def reached(self, name: str) -> tuple[Mailbox, ...]:
        """The live mailboxes that mail to `name` comes to, through chains, sorted.

        An alias of a backup MX domain counts as if it were expanded here.
        """
        found = self.find(name)
        if not isinstance(found, Mailbox | Alias) or not self._is_on(found):
            return ()
        if isinstance(found, Mailbox):
            return (found,)
        known = self._reached.get(found.address)
        if known is None:
            boxes = {box.email: box for t in self._onward(found) for box in self.reached(t)}
            known = self._reached[found.address] = tuple(boxes[email] for email in sorted(boxes))
        return known

    def _senders(self, name: str) -> Iterable[Mailbox]:
        return (box for box in self.reached(name) if self.domains[box.domain].local)

    def logins(self, name: str) -> tuple[str, ...]:
        """The mailboxes that may send as `name`: itself, or an alias's targets through chains."""
        return tuple(box.email for box in self._senders(name))

    def tls_in(self, name: str) -> bool:
        """Must mail to `name` come over TLS, for one of the mailboxes that it reaches?"""
        return any(box.tls_in for box in self.reached(name))

    def tls_out(self, name: str) -> bool:
        """Must mail from `name` leave over TLS, for one of the mailboxes that may send as it?"""
        return any(box.tls_out for box in self._senders(name))
