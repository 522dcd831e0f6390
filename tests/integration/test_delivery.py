"""Mail from outside: delivered to INBOX, spread by aliases, or refused in the session."""

from __future__ import annotations

import pytest
from bed import Bed
from world import PASSWORD, ByHand

pytestmark = pytest.mark.peers
STRANGER = "bob@elsewhere.test"


def test_mail_reaches_the_inbox(bed: Bed, world: ByHand):
    """SMTP in, LMTP, Maildir, IMAP out: the body arrives as it was sent."""
    ann = world.mailbox(f"ann@{world.domain()}")
    bed.send(STRANGER, ann, "hello", body="Grüße\r\n")
    (message,) = bed.messages(ann, PASSWORD, "hello")
    assert f"Delivered-To: {ann}".encode() in message
    assert message.endswith("\r\n\r\nGrüße\r\n".encode())


def test_mail_lies_in_the_maildir(bed: Bed, world: ByHand):
    """A mailbox's mail is in Maildir below mail_home, owned by the one user of all mail."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    bed.send(STRANGER, ann, "here")
    bed.messages(ann, PASSWORD, "here")
    maildir = bed.root / "mail" / domain / "ann" / "Maildir"
    (file,) = [*(maildir / "new").iterdir(), *(maildir / "cur").iterdir()]
    assert file.stat().st_uid == 5000


def test_case_and_tag(bed: Bed, world: ByHand):
    """ANN+tag@DOMAIN is ann@domain, and its mail goes to her INBOX."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    bed.send(STRANGER, f"Ann+News@{domain.upper()}", "tagged")
    assert bed.messages(ann, PASSWORD, "tagged")


def test_alias_to_several(bed: Bed, world: ByHand):
    """An alias gives each of its targets a copy: mailboxes, another alias's, strangers."""
    domain = world.domain()
    ann, eve = world.mailbox(f"ann@{domain}"), world.mailbox(f"eve@{domain}")
    world.alias(f"second@{domain}", eve)
    world.alias(f"first@{domain}", ann, f"second@{domain}", "zoe@far.test")
    bed.send(STRANGER, f"first@{domain}", f"all {domain}")
    assert len(bed.messages(ann, PASSWORD, f"all {domain}")) == 1
    assert len(bed.messages(eve, PASSWORD, f"all {domain}")) == 1
    left = bed.sink.wait(lambda m: m.subject == f"all {domain}")
    assert left.recipients == ("zoe@far.test",)


def test_alias_with_tag(bed: Bed, world: ByHand):
    """A target may carry a tag, and so may the address that is written to."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    world.alias(f"info@{domain}", f"ann+info@{domain}")
    bed.send(STRANGER, f"info+x@{domain}", "tags")
    assert bed.messages(ann, PASSWORD, "tags")


def test_catch_all_spares_mailboxes(bed: Bed, world: ByHand):
    """A catch-all takes what no one else has: a mailbox, an alias and their tags keep theirs."""
    domain = world.domain()
    ann, eve = world.mailbox(f"ann@{domain}"), world.mailbox(f"eve@{domain}")
    world.alias(f"@{domain}", eve)
    world.alias(f"info@{domain}", ann)
    for name in ("ann", "ann+tag", "info"):
        bed.settled(bed.send(STRANGER, f"{name}@{domain}", f"to {name}"))
    bed.settled(bed.send(STRANGER, f"other@{domain}", "to other"))
    assert sorted(bed.subjects(ann, PASSWORD)) == ["to ann", "to ann+tag", "to info"]
    assert bed.subjects(eve, PASSWORD) == ["to other"]


def test_unknown_user(bed: Bed, world: ByHand, refused):
    """A recipient that does not exist is refused with 550 in the session."""
    domain = world.domain()
    with refused(550, "User unknown"):
        bed.send(STRANGER, f"nobody@{domain}")


def test_inactive_mailbox(bed: Bed, world: ByHand, refused):
    """A mailbox that is switched off gets no mail and no log-in, and both when it is on again."""
    ann = world.mailbox(f"ann@{world.domain()}")
    bed.send(STRANGER, ann)
    world.set_mailbox(ann, active=False)
    with refused(550):
        bed.send(STRANGER, ann)
    assert not bed.logs_in(ann, PASSWORD)
    world.set_mailbox(ann, active=True)
    bed.send(STRANGER, ann, "again")
    assert bed.messages(ann, PASSWORD, "again")


def test_inactive_mailbox_behind_catch_all(bed: Bed, world: ByHand, refused):
    """A catch-all does not take the mail of a mailbox that is switched off: 550."""
    domain = world.domain()
    eve, ann = world.mailbox(f"eve@{domain}"), world.mailbox(f"ann@{domain}", active=False)
    world.alias(f"@{domain}", eve)
    for recipient in (ann, f"ann+tag@{domain}"):
        with refused(550):
            bed.send(STRANGER, recipient)
        with refused(550):
            bed.send(eve, recipient, auth=(eve, PASSWORD))


def test_inactive_domain(bed: Bed, world: ByHand, refused):
    """A domain that is switched off gets no mail and no log-in, from the next session on."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    bed.send(STRANGER, ann)
    world.set_domain(domain, active=False)
    with refused(554, "Relay access denied"):
        bed.send(STRANGER, ann)
    assert not bed.logs_in(ann, PASSWORD)


def test_inactive_alias(bed: Bed, world: ByHand, refused):
    """An alias that is switched off is refused."""
    domain = world.domain()
    info = world.alias(f"info@{domain}", world.mailbox(f"ann@{domain}"))
    bed.send(STRANGER, info)
    world.set_alias(info, active=False)
    with refused(550):
        bed.send(STRANGER, info)


def test_alias_of_a_switched_off_mailbox(bed: Bed, world: ByHand, refused):
    """An alias all of whose targets are switched off is refused in the session, not bounced."""
    domain = world.domain()
    info = world.alias(f"info@{domain}", world.mailbox(f"ann@{domain}", active=False))
    with refused(550):
        bed.send(STRANGER, info)


def test_no_open_relay(bed: Bed, world: ByHand, refused):
    """A stranger gets no mail through to another host, however the address is written."""
    domain = world.domain()
    world.alias(f"@{domain}", world.mailbox(f"ann@{domain}"))
    for recipient in (
        "victim@far.test",
        f"victim@far.test@{domain}",
        f"victim%far.test@{domain}",
        f"far.test!victim@{domain}",
        f'"victim@far.test"@{domain}',
        f"@{domain}:victim@far.test",
        f"victim@sub.{domain}",
    ):
        with refused(554):
            bed.send(STRANGER, recipient)
    with refused(550):
        bed.send(STRANGER, "victim@[127.0.0.1]")


def test_own_host_relays(bed: Bed, world: ByHand):
    """This host's own networks may send mail out."""
    bed.send("cron@mx.bed.test", "zoe@far.test", "own host", own_host=True)
    assert bed.sink.wait(lambda m: m.subject == "own host")
