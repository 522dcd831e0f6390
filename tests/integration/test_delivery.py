"""Mail from outside: delivered to INBOX, spread by aliases, or refused in the session."""

from __future__ import annotations

import pytest
from bed import Bed
from world import PASSWORD, World

pytestmark = pytest.mark.peers
STRANGER = "bob@elsewhere.test"


def test_mail_reaches_the_inbox(bed: Bed, world: World):
    """SMTP in, LMTP, Maildir, IMAP out: the body arrives as it was sent."""
    ann = world.mailbox(f"ann@{world.domain()}")
    bed.send(STRANGER, ann, "hello", body="Grüße\r\n")
    (message,) = bed.messages(ann, PASSWORD, "hello")
    assert f"Delivered-To: {ann}".encode() in message
    assert message.endswith("\r\n\r\nGrüße\r\n".encode())


def test_mail_lies_in_the_maildir(bed: Bed, world: World):
    """A mailbox's mail is in Maildir below mail_home, owned by the one user of all mail."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    bed.send(STRANGER, ann, "here")
    bed.messages(ann, PASSWORD, "here")
    maildir = bed.root / "mail" / domain / "ann" / "Maildir"
    (file,) = [*(maildir / "new").iterdir(), *(maildir / "cur").iterdir()]
    assert file.stat().st_uid == 5000


def test_case_and_tag(bed: Bed, world: World):
    """ANN+tag@DOMAIN is ann@domain, and its mail goes to her INBOX."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    bed.send(STRANGER, f"Ann+News@{domain.upper()}", "tagged")
    assert bed.messages(ann, PASSWORD, "tagged")


def test_alias_to_several(bed: Bed, world: World):
    """An alias gives each of its targets a copy: mailboxes, another alias's, strangers."""
    domain = world.domain()
    ann, eve = world.mailboxes(f"ann@{domain}", f"eve@{domain}")
    world.alias(f"second@{domain}", eve)
    world.alias(f"first@{domain}", ann, f"second@{domain}", "zoe@far.test")
    bed.send(STRANGER, f"first@{domain}", f"all {domain}")
    assert len(bed.messages(ann, PASSWORD, f"all {domain}")) == 1
    assert len(bed.messages(eve, PASSWORD, f"all {domain}")) == 1
    left = bed.sink.wait(lambda m: m.subject == f"all {domain}")
    assert left.recipients == ("zoe@far.test",)


def test_alias_with_tag(bed: Bed, world: World):
    """A target may carry a tag, and so may the address that is written to."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    world.alias(f"info@{domain}", f"ann+info@{domain}")
    bed.send(STRANGER, f"info+x@{domain}", "tags")
    assert bed.messages(ann, PASSWORD, "tags")


def test_an_alias_keeps_the_tag_to_itself(bed: Bed, world: World):
    """Mail to info+x reaches the alias's target, not what the target with that tag would be."""
    domain = world.domain()
    bob, eve = world.mailboxes(f"bob@{domain}", f"eve@{domain}")
    world.alias(f"bob+x@{domain}", eve)
    world.alias(f"info@{domain}", bob, "zoe@far.test")
    bed.settled(bed.send(STRANGER, f"info+x@{domain}", f"tag {domain}"))
    left = bed.sink.wait(lambda m: m.subject == f"tag {domain}")
    assert left.recipients == ("zoe@far.test",)
    assert bed.messages(bob, PASSWORD, f"tag {domain}")
    assert bed.subjects(eve, PASSWORD) == []


def test_first_sign_a_hyphen(bed: Bed, world: World):
    """-ann gets mail, from outside and through an alias, and sends some; a tag may begin so too."""
    domain = world.domain()
    ann, bob = world.mailboxes(f"-ann@{domain}", f"bob@{domain}")
    world.alias(f"info@{domain}", ann)
    for number, recipient in enumerate((ann, f"info@{domain}", f"-ann+x@{domain}")):
        bed.send(STRANGER, recipient, f"hyphen {number}")
        assert bed.messages(ann, PASSWORD, f"hyphen {number}")
    bed.send(ann, "-zoe@far.test", f"hyphen {domain}", auth=(ann, PASSWORD))
    left = bed.sink.wait(lambda m: m.subject == f"hyphen {domain}")
    assert (left.sender, left.recipients) == (ann, ("-zoe@far.test",))
    bed.send(STRANGER, f"bob+-x@{domain}", "hyphen")
    assert bed.messages(bob, PASSWORD, "hyphen")


def test_catch_all_spares_mailboxes(bed: Bed, world: World):
    """A catch-all takes what no one else has: a mailbox, an alias and their tags keep theirs."""
    domain = world.domain()
    ann, eve = world.mailboxes(f"ann@{domain}", f"eve@{domain}")
    world.alias(f"@{domain}", eve)
    world.alias(f"info@{domain}", ann)
    for name in ("ann", "ann+tag", "info"):
        bed.settled(bed.send(STRANGER, f"{name}@{domain}", f"to {name}"))
    bed.settled(bed.send(STRANGER, f"other@{domain}", "to other"))
    assert sorted(bed.subjects(ann, PASSWORD)) == ["to ann", "to ann+tag", "to info"]
    assert bed.subjects(eve, PASSWORD) == ["to other"]


def test_unknown_user(bed: Bed, world: World, refused):
    """A recipient that does not exist is refused with 550 in the session."""
    domain = world.domain()
    with refused(550, "User unknown"):
        bed.send(STRANGER, f"nobody@{domain}")


def test_inactive_mailbox(bed: Bed, world: World, refused):
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


def test_inactive_mailbox_behind_catch_all(bed: Bed, world: World, refused):
    """A catch-all does not take the mail of a mailbox that is switched off: 550."""
    domain = world.domain()
    eve, ann = world.mailboxes(f"eve@{domain}", f"ann@{domain}")
    world.alias(f"@{domain}", eve)
    bed.send(STRANGER, ann)
    world.set_mailbox(ann, active=False)
    for recipient in (ann, f"ann+tag@{domain}"):
        with refused(550, "switched off"):
            bed.send(STRANGER, recipient)
        with refused(550, "switched off"):
            bed.send(eve, recipient, auth=(eve, PASSWORD))


def test_removed_mailbox(bed: Bed, world: World, refused):
    """A mailbox that is removed gets no mail and no log-in, nor does an alias that led only there;
    who has the name next has a password of their own."""
    domain = world.domain()
    ann, eve = world.mailboxes(f"ann@{domain}", f"eve@{domain}")
    only, both = world.alias(f"only@{domain}", ann), world.alias(f"both@{domain}", ann, eve)
    bed.settled(bed.send(STRANGER, ann))
    world.remove_mailbox(ann)
    for recipient in (ann, only):
        with refused(550, "User unknown"):
            bed.send(STRANGER, recipient)
    assert not bed.logs_in(ann, PASSWORD)
    bed.send(STRANGER, both, "to both")
    assert bed.messages(eve, PASSWORD, "to both")
    world.mailbox(ann, password="another one")
    assert not bed.logs_in(ann, PASSWORD)
    bed.send(STRANGER, ann, "again")
    assert bed.messages(ann, "another one", "again")


def test_inactive_domain(bed: Bed, world: World, refused):
    """A domain that is switched off gets no mail and no log-in, from the next session on."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    bed.send(STRANGER, ann)
    world.set_domain(domain, active=False)
    with refused(554, "Relay access denied"):
        bed.send(STRANGER, ann)
    assert not bed.logs_in(ann, PASSWORD)
    with refused(535):
        bed.send(ann, "zoe@far.test", auth=(ann, PASSWORD))


def test_inactive_alias(bed: Bed, world: World, refused):
    """An alias that is switched off, or removed, is refused; switched on it is not."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    info = world.alias(f"info@{domain}", ann)
    bed.send(STRANGER, info)
    world.set_alias(info, active=False)
    with refused(550, "User unknown"):
        bed.send(STRANGER, info)
    world.set_alias(info, active=True)
    bed.send(STRANGER, info, "on again")
    assert bed.messages(ann, PASSWORD, "on again")
    world.remove_alias(info)
    with refused(550, "User unknown"):
        bed.send(STRANGER, info)


def test_changed_alias(bed: Bed, world: World):
    """New targets get the next mail, the old ones no more."""
    domain = world.domain()
    ann, eve = world.mailboxes(f"ann@{domain}", f"eve@{domain}")
    info = world.alias(f"info@{domain}", ann)
    bed.settled(bed.send(STRANGER, info, "first"))
    world.set_alias(info, goto=[eve])
    bed.settled(bed.send(STRANGER, info, "second"))
    assert bed.subjects(ann, PASSWORD) == ["first"]
    assert bed.subjects(eve, PASSWORD) == ["second"]


def test_target_switched_off(bed: Bed, world: World, refused):
    """A target that is switched off gets nothing and bounces nothing, whatever leads there; an
    alias that has no other target is refused in the session."""
    domain = world.domain()
    ann, eve = world.mailboxes(f"ann@{domain}", f"eve@{domain}")
    info = world.alias(f"info@{domain}", ann)
    chain = world.alias(f"chain@{domain}", info)
    both = world.alias(f"both@{domain}", info, eve)
    for recipient in (info, chain, both):
        bed.send(STRANGER, recipient)
    world.set_mailbox(ann, active=False)
    for recipient in (info, chain):
        with refused(550, "User unknown"):
            bed.send(STRANGER, recipient)
    said = bed.settled(bed.send(STRANGER, both, "to both"))
    assert f"to=<{eve}>" in said
    assert ann not in said
    assert "bounced" not in said
    world.set_mailbox(ann, active=True)
    bed.send(STRANGER, chain, "on again")
    assert bed.messages(ann, PASSWORD, "on again")


def test_no_open_relay(bed: Bed, world: World, refused):
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


def test_own_host_relays(bed: Bed, world: World):
    """This host's own networks may send mail out."""
    bed.send("cron@mx.bed.test", "zoe@far.test", "own host", own_host=True)
    assert bed.sink.wait(lambda m: m.subject == "own host")
