"""A log-in sends as its own addresses, and as no other's."""

from __future__ import annotations

import pytest
from bed import Bed
from world import PASSWORD, World

pytestmark = pytest.mark.peers


def test_own_addresses(bed: Bed, world: World):
    """Its own address, with a tag too, and the aliases that lead to it, through other aliases."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    world.alias(f"second@{domain}", ann)
    world.alias(f"first@{domain}", f"second@{domain}")
    for name in ("ann", "Ann", "ann+shop", "second", "first"):
        bed.send(f"{name}@{domain}", "zoe@far.test", f"{name} {domain}", auth=(ann, PASSWORD))
        left = bed.sink.wait(lambda m, name=name: m.subject == f"{name} {domain}")
        assert left.sender == f"{name}@{domain}"


def test_spoofing(bed: Bed, world: World, refused):
    """Not another mailbox, another's alias, an address that no one has, or a stranger's."""
    domain = world.domain()
    ann, eve = world.mailboxes(f"ann@{domain}", f"eve@{domain}")
    world.alias(f"info@{domain}", eve)
    for sender in (eve, f"info@{domain}", f"nobody@{domain}", "boss@far.test"):
        for port in (bed.layout.submission_port, bed.layout.submissions_port):
            with refused(553, "not owned by user"):
                bed.send(sender, "zoe@far.test", auth=(ann, PASSWORD), port=port)


def test_switched_off(bed: Bed, world: World, refused):
    """An alias that is switched off is no sender any more."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    info = world.alias(f"info@{domain}", ann)
    bed.send(info, "zoe@far.test", auth=(ann, PASSWORD))
    world.set_alias(info, active=False)
    with refused(553):
        bed.send(info, "zoe@far.test", auth=(ann, PASSWORD))


def test_nobody(bed: Bed, world: World, refused):
    """A log-in does not send as nobody, <>; bounces of other hosts come in."""
    ann = world.mailbox(f"ann@{world.domain()}")
    for port in (bed.layout.submission_port, bed.layout.submissions_port):
        for recipient in ("zoe@far.test", ann):
            with refused(554, "Access denied"):
                bed.send("", recipient, auth=(ann, PASSWORD), port=port)
    bed.send("", ann, "a bounce")
    assert bed.messages(ann, PASSWORD, "a bounce")
