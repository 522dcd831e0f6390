"""Who may log in, over IMAP and SMTP."""

from __future__ import annotations

import pytest
from bed import Bed
from world import PASSWORD, ByHand

pytestmark = pytest.mark.peers
STRANGER = "bob@elsewhere.test"


def test_password(bed: Bed, world: ByHand):
    """The right password opens the mailbox, in any case of the name; another one does not."""
    ann = world.mailbox(f"ann@{world.domain()}")
    assert bed.logs_in(ann, PASSWORD)
    assert bed.logs_in(ann.upper(), PASSWORD)
    assert not bed.logs_in(ann, PASSWORD.upper())
    assert not bed.logs_in(ann, "")
    assert not bed.logs_in("nobody@" + ann.partition("@")[2], PASSWORD)


def test_changed_password(bed: Bed, world: ByHand):
    """After a change the old password is refused and the new one taken, each of five times."""
    ann = world.mailbox(f"ann@{world.domain()}")
    old = PASSWORD
    for number in range(5):
        new = f"{PASSWORD} {number}"
        world.set_mailbox(ann, password=new)
        assert not bed.logs_in(ann, old)
        assert bed.logs_in(ann, new)
        old = new


def test_force_pw_update(bed: Bed, world: ByHand, refused):
    """Until the owner sets a new password, mail comes in and no log-in works, IMAP or SMTP."""
    ann = world.mailbox(f"ann@{world.domain()}", force_pw_update=True)
    bed.settled(bed.send(STRANGER, ann, "meanwhile"))
    assert not bed.logs_in(ann, PASSWORD)
    with refused(535):
        bed.send(ann, ann, auth=(ann, PASSWORD))
    world.set_mailbox(ann, force_pw_update=False)
    assert bed.messages(ann, PASSWORD, "meanwhile")
    bed.send(ann, ann, auth=(ann, PASSWORD))


def test_smtp_password(bed: Bed, world: ByHand, refused):
    """Submission takes the right password and no other, on both of its ports."""
    ann = world.mailbox(f"ann@{world.domain()}")
    bed.send(ann, "zoe@far.test", auth=(ann, PASSWORD))
    bed.send(ann, "zoe@far.test", auth=(ann, PASSWORD), port=bed.layout.submissions_port)
    for port in (bed.layout.submission_port, bed.layout.submissions_port):
        with refused(535):
            bed.send(ann, "zoe@far.test", auth=(ann, "wrong"), port=port)


def test_no_password_in_the_clear(bed: Bed, world: ByHand):
    """AUTH is offered over TLS only, and never on port 25."""
    world.domain()
    with bed.smtp(bed.layout.submission_port) as client:
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", "PLAIN AGEAYgBj")[0] == 530
    with bed.smtp(bed.layout.submission_port, starttls=True) as client:
        assert client.has_extn("auth")
    with bed.smtp(starttls=True) as client:
        assert not client.has_extn("auth")


def test_submission_wants_a_log_in(bed: Bed, world: ByHand, refused):
    """Nobody sends through the submission ports without a log-in, not even to our own mailboxes."""
    ann = world.mailbox(f"ann@{world.domain()}")
    with refused(530, "STARTTLS"):
        bed.send(STRANGER, ann, port=bed.layout.submission_port)
    for own_host in (False, True):
        with refused(554):
            bed.send(
                STRANGER, ann, port=bed.layout.submission_port, starttls=True, own_host=own_host
            )


def test_apostrophe(bed: Bed, world: ByHand):
    """O'Neil logs in and gets his mail: Dovecot looks for the apostrophe behind a backslash."""
    email = world.mailbox(f"o'neil@{world.domain()}", password="the right one")
    assert bed.logs_in(email, "the right one")
    bed.send("someone@elsewhere.example", email, subject="for o'neil")
    assert bed.messages(email, "the right one", "for o'neil")
