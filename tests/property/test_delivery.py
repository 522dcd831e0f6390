"""What Postfix makes of the rendered files: its own lookups, played with random states.

`Postfix` here does what smtpd(8) and cleanup(8) do with the files, after virtual(5), access(5),
postconf(5) and `mail_addr_find.c`, for a configuration with recipient_delimiter = +, with
parent_domain_matches_subdomains and propagate_unmatched_extensions empty.
"""

from __future__ import annotations

import oracle
import states
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Files, State, World, domain_of, untagged

from mailapi.render import Renderer
from mailapi.whole import whole

RENDERER = Renderer()
PROBES = [
    f"{local}@{domain}"
    for domain in states.OURS
    for local in (*states.LOCALS, *states.TAGGED, "ann+y", "eve+x", "Zoe", "nobody")
]


class Postfix:
    def __init__(self, files: Files) -> None:
        self.files = files

    def find(self, file: str, address: str, last: str) -> str | None:
        """The row of the address, of the address without its +tag, of `last`."""
        rows = self.files[file]
        for key in (address.lower(), untagged(address.lower()), last):
            if key in rows:
                return str(rows[key])
        return None

    def is_known(self, address: str) -> bool:
        """Does smtpd know the recipient, in a domain that it takes mail for?"""
        domain = domain_of(address).lower()
        catch_all = f"@{domain}"
        if domain in self.files["virtual_mailbox_domains"]:
            files = ("virtual_alias_maps", "virtual_mailbox_maps")
        elif domain in self.files["relay_domains"]:
            files = ("virtual_alias_maps", "relay_recipient_maps")
        else:
            return False
        return any(self.find(file, address, catch_all) for file in files)

    def accepts(self, address: str, *, tls: bool) -> bool:
        """Does smtpd accept a recipient from outside?"""
        action = self.find("recipient_access", address, domain_of(address).lower()) or "DUNNO"
        refused = action.startswith("550") or (action == oracle.WANTS_TLS and not tls)
        return self.is_known(address) and not refused

    def recipients(self, address: str, seen: frozenset[str] = frozenset()) -> set[str]:
        """Where cleanup sends mail to the address: expanded until nothing changes."""
        row = self.find("virtual_alias_maps", address, f"@{domain_of(address).lower()}")
        if row is None:
            return {address}
        assert address.lower() not in seen, "Postfix defers mail that goes in circles"
        found: set[str] = set()
        for target in row.split(", "):
            if target.lower() == address.lower():
                found.add(target)
            else:
                found |= self.recipients(target, seen | {address.lower()})
        return found

    def mailboxes(self, address: str) -> set[str]:
        """Whose mailboxes mail to the address lands in."""
        users = self.files["users"]
        ends = {untagged(end.lower()) for end in self.recipients(address)}
        return {end for end in ends if end in users}


def play(state: State) -> tuple[World, Postfix]:
    with states.database(state) as db:
        texts = whole(db, RENDERER)
    db.close()
    return World(state), Postfix(oracle.parse(texts))


def switched_off(world: World, address: str) -> bool:
    """Somebody has the address, and is switched off."""
    taker = world.there(address) or world.there(untagged(address))
    return taker is not None and not world.active(taker)


@settings(deadline=None)
@given(states.states())
def test_what_is_accepted_is_never_bounced(state: State) -> None:
    """Whatever smtpd accepts ends in a mailbox, at a relayed domain, or in a foreign domain."""
    world, postfix = play(state)
    for address in PROBES:
        if not postfix.accepts(address, tls=True):
            continue
        for end in postfix.recipients(address):
            ours = domain_of(end) in world.domains
            if ours and not world.is_relay(end):
                assert untagged(end.lower()) in postfix.files["users"], (address, end)
            elif ours:
                assert postfix.is_known(end), (address, end)


@settings(deadline=None)
@given(states.states())
def test_mail_gets_to_its_mailbox_and_to_no_other(state: State) -> None:
    """A live mailbox gets its own mail, with and without a tag, and nobody else gets it."""
    world, postfix = play(state)
    for email, row in world.mailboxes.items():
        if not world.active(row) or world.is_relay(email):
            continue
        local, domain = email.split("@")
        for address in (email, email.upper(), f"{local}+anything@{domain}"):
            assert postfix.accepts(address, tls=True), address
            assert postfix.mailboxes(address) == {email}, address


@settings(deadline=None)
@given(states.states())
def test_who_is_switched_off_gets_nothing(state: State) -> None:
    """Mail to a switched-off mailbox or alias is refused, not given to somebody else."""
    world, postfix = play(state)
    for address in PROBES:
        if switched_off(world, address.lower()):
            assert not postfix.accepts(address, tls=True), address
        for email in postfix.mailboxes(address):
            assert world.active(world.mailboxes[email]), (address, email)


@settings(deadline=None)
@given(states.states())
def test_live_addresses_reach_all_their_readers(state: State) -> None:
    """An address that leads somewhere is accepted and reaches every live mailbox it leads to."""
    world, postfix = play(state)
    for address in PROBES:
        if domain_of(address) not in world.domains:
            continue
        alive = oracle.gets_somewhere(world, address)
        assert postfix.accepts(address, tls=True) == alive, address
        if alive and not world.is_relay(address):
            assert oracle.senders(world, address) >= postfix.mailboxes(address), address
            direct = {e for e in oracle.senders(world, address) if not through_relay(world, e)}
            assert postfix.mailboxes(address) >= direct, address


def through_relay(world: World, email: str) -> bool:
    """Whether an alias of a backup MX domain leads to the mailbox: the primary expands that."""
    return any(
        world.is_relay(name) and email in oracle.readers(world, name) for name in world.aliases
    )


@settings(deadline=None)
@given(states.states())
def test_no_plain_text_reaches_a_mailbox_that_wants_tls(state: State) -> None:
    """Mail that a tls_enforce_in mailbox would get is not accepted without TLS."""
    world, postfix = play(state)
    for address in PROBES:
        if postfix.accepts(address, tls=False):
            for email in postfix.mailboxes(address):
                assert not world.mailboxes[email].get("tls_enforce_in"), (address, email)
            end = untagged(address.lower())
            row = world.mailboxes.get(end, {}) if address.lower() not in world.aliases else {}
            assert not row.get("tls_enforce_in"), address


@settings(deadline=None)
@given(states.states())
def test_tls_is_asked_only_where_somebody_wants_it(state: State) -> None:
    """An address none of whose readers wants TLS takes mail without."""
    world, postfix = play(state)
    for address in PROBES:
        if domain_of(address) not in world.domains or not postfix.accepts(address, tls=True):
            continue
        wants = oracle.any_wants(world, oracle.readers(world, address), "tls_enforce_in")
        assert postfix.accepts(address, tls=False) == (not wants), address


@settings(deadline=None)
@given(states.states())
def test_only_readers_send_as_an_address(state: State) -> None:
    """A log-in may send as an address exactly if mail to that address comes to it."""
    world, postfix = play(state)
    for address in PROBES:
        if domain_of(address) not in world.domains or world.is_relay(address):
            continue
        row = postfix.find("smtpd_sender_login_maps", address, f"@{domain_of(address)}")
        owners = set((row or "").split(", ")) & postfix.files["users"].keys()
        if world.domains[domain_of(address)].get("active", True):
            assert owners == oracle.senders(world, address), address
        else:
            assert row is None, address


@settings(deadline=None)
@given(states.states())
def test_who_must_send_over_tls_always_does(state: State) -> None:
    """Whatever address a tls_enforce_out mailbox may send as, its mail goes out over TLS only."""
    world, postfix = play(state)
    for address in PROBES:
        catch_all = f"@{domain_of(address)}"
        row = postfix.find("smtpd_sender_login_maps", address, catch_all) or ""
        owners = set(row.split(", ")) & postfix.files["users"].keys()
        if not owners:
            continue
        way = postfix.find("sender_dependent_default_transport_maps", address, catch_all)
        wants = oracle.any_wants(world, owners, "tls_enforce_out")
        assert (way == oracle.TLS_TRANSPORT) == wants, address


@settings(deadline=None)
@given(states.states(), st.sampled_from(states.FOREIGN))
def test_no_mail_for_others_is_accepted(state: State, foreign: str) -> None:
    """Nothing is accepted for domains that are not ours, or are switched off."""
    world, postfix = play(state)
    off = [name for name, row in world.domains.items() if not row["active"]]
    for domain in (foreign, *off):
        assert not postfix.accepts(f"ann@{domain}", tls=True)
