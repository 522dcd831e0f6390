"""Backup MX: mail for listed recipients is passed on, the others are refused."""

from __future__ import annotations

import pytest
from bed import Bed
from world import World

pytestmark = pytest.mark.peers
STRANGER = "bob@elsewhere.test"


def test_listed(bed: Bed, world: World, refused):
    """Its mailboxes and aliases are relayed, not delivered here; who is not listed gets 550."""
    domain = world.domain(backupmx=True)
    world.mailbox(f"ann@{domain}")
    world.alias(f"info@{domain}", f"ann@{domain}")
    for recipient in (f"ann@{domain}", f"info@{domain}", f"ann+tag@{domain}"):
        bed.send(STRANGER, recipient, f"to {recipient}")
        left = bed.sink.wait(lambda m, to=recipient: m.subject == f"to {to}")
        assert left.recipients == (recipient,)
    with refused(550):
        bed.send(STRANGER, f"nobody@{domain}")


def test_unlisted_domain(bed: Bed, world: World, refused):
    """A domain without recipients relays all of them, but not its subdomains."""
    domain = world.domain(backupmx=True)
    bed.send(STRANGER, f"anyone@{domain}", f"any {domain}")
    assert bed.sink.wait(lambda m: m.subject == f"any {domain}")
    with refused(554, "Relay access denied"):
        bed.send(STRANGER, f"anyone@sub.{domain}")


def test_switched_off(bed: Bed, world: World, refused):
    """A backup MX domain that is switched off relays nothing, from the next session on."""
    domain = world.domain(backupmx=True)
    bed.send(STRANGER, f"anyone@{domain}")
    world.set_domain(domain, active=False)
    with refused(554, "Relay access denied"):
        bed.send(STRANGER, f"anyone@{domain}")
