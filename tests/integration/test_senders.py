"""A log-in sends as its own addresses, and as no other's."""

from __future__ import annotations

import pytest
from bed import Bed
from world import PASSWORD, ByHand

pytestmark = pytest.mark.peers


def test_own_addresses(bed: Bed, world: ByHand):
    """Its own address, with a tag too, and the aliases that lead to it, through other aliases."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    world.alias(f"second@{domain}", ann)
    world.alias(f"first@{domain}", f"second@{domain}")
    for name in ("ann", "Ann", "ann+shop", "second", "first"):
        bed.send(f"{name}@{domain}", "zoe@far.test", f"{name} {domain}", auth=(ann, PASSWORD))
        left = bed.sink.wait(lambda m, name=name: m.subject == f"{name} {domain}")
        assert left.sender == f"{name}@{domain}"


def test_spoofing(bed: Bed, world: ByHand, refused):
    """Not another mailbox, another's alias, an address that no one has, or a stranger's."""
    domain = world.domain()
    ann, eve = world.mailbox(f"ann@{domain}"), world.mailbox(f"eve@{domain}")
    world.alias(f"info@{domain}", eve)
    for sender in (eve, f"info@{domain}", f"nobody@{domain}", "boss@far.test"):
        for port in (bed.layout.submission_port, bed.layout.submissions_port):
            with refused(553, "not owned by user"):
                bed.send(sender, "zoe@far.test", auth=(ann, PASSWORD), port=port)


def test_switched_off(bed: Bed, world: ByHand, refused):
    """An alias that is switched off is no sender any more."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    info = world.alias(f"info@{domain}", ann)
    bed.send(info, "zoe@far.test", auth=(ann, PASSWORD))
    world.set_alias(info, active=False)
    with refused(553):
        bed.send(info, "zoe@far.test", auth=(ann, PASSWORD))
