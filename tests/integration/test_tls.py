"""Mail that must come or leave over TLS."""

from __future__ import annotations

import pytest
from bed import Bed
from world import PASSWORD, World

pytestmark = pytest.mark.peers
STRANGER = "bob@elsewhere.test"


def test_enforce_in(bed: Bed, world: World, refused):
    """Refused with 550 without TLS, delivered with it; others are not concerned."""
    domain = world.domain()
    ann, eve = world.mailboxes(f"ann@{domain}", f"eve@{domain}")
    bed.send(STRANGER, ann)
    world.set_mailbox(ann, tls_enforce_in=True)
    for recipient in (ann, f"ann+tag@{domain}"):
        with refused(550, "encryption"):
            bed.send(STRANGER, recipient)
    bed.send(STRANGER, ann, "over TLS", starttls=True)
    assert bed.messages(ann, PASSWORD, "over TLS")
    bed.send(STRANGER, eve)
    world.set_mailbox(ann, tls_enforce_in=False)
    bed.send(STRANGER, ann)


def test_enforce_in_behind_an_alias(bed: Bed, world: World, refused):
    """An alias and a catch-all that lead to such a mailbox want TLS too; other names do not."""
    domain, other = world.domain(), world.domain()
    ann = world.mailbox(f"ann@{domain}", tls_enforce_in=True)
    eve = world.mailbox(f"eve@{other}")
    world.alias(f"info@{other}", eve, ann)
    world.alias(f"@{other}", ann)
    for name in ("info", "anything"):
        with refused(550, "encryption"):
            bed.send(STRANGER, f"{name}@{other}")
        bed.send(STRANGER, f"{name}@{other}", starttls=True)
    bed.send(STRANGER, eve)


def test_inside_is_not_outside(bed: Bed, world: World):
    """This host's own mail, and that of a log-in, need not come over TLS from outside."""
    ann = world.mailbox(f"ann@{world.domain()}", tls_enforce_in=True)
    bed.send("cron@mx.bed.test", ann, "from cron", own_host=True)
    bed.send(ann, ann, "from ann", auth=(ann, PASSWORD))
    assert bed.messages(ann, PASSWORD, "from cron")
    assert bed.messages(ann, PASSWORD, "from ann")


def test_enforce_out(bed: Bed, world: World):
    """Deferred where the other server knows no TLS, delivered where it does."""
    ann = world.mailbox(f"ann@{world.domain()}", tls_enforce_out=True)
    auth = (ann, PASSWORD)
    assert "status=sent" in bed.settled(bed.send(ann, "zoe@tls.test", "out", auth=auth))
    assert bed.tls_sink.wait(lambda m: m.subject == "out" and m.sender == ann).tls
    said = bed.settled(bed.send(ann, "zoe@far.test", "deferred", auth=auth))
    assert "status=deferred (TLS is required" in said
    assert not [m for m in bed.sink.messages if m.sender == ann]


def test_opportunistic_out(bed: Bed, world: World):
    """Other mail leaves over TLS where it can, and without where it cannot."""
    ann = world.mailbox(f"ann@{world.domain()}")
    bed.send(ann, ["zoe@tls.test", "zoe@far.test"], "both", auth=(ann, PASSWORD))
    assert bed.tls_sink.wait(lambda m: m.subject == "both" and m.sender == ann).tls
    assert not bed.sink.wait(lambda m: m.subject == "both" and m.sender == ann).tls


def test_enforce_out_as_an_alias(bed: Bed, world: World):
    """Sending under an alias's address changes nothing about it."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}", tls_enforce_out=True)
    info = world.alias(f"info@{domain}", ann)
    for sender in (info, f"info+tag@{domain}"):
        said = bed.settled(bed.send(sender, "zoe@far.test", auth=(ann, PASSWORD)))
        assert "status=deferred (TLS is required" in said
