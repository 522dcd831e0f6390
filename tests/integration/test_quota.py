"""Quota: a full mailbox refuses mail before it is taken, and what does not fit bounces."""

from __future__ import annotations

import pytest
from bed import Bed
from world import PASSWORD, World

pytestmark = pytest.mark.peers
STRANGER = "bob@elsewhere.test"
BIG = ("x" * 76 + "\r\n") * 8_000  # 0.6 MB
MB = 1_048_576


def test_full(bed: Bed, world: World, refused):
    """What does not fit is refused with 552 in the session; something smaller may still fit."""
    domain = world.domain()
    ann, eve = world.mailboxes(f"ann@{domain}", f"eve@{domain}", quota=1)
    bed.settled(bed.send(STRANGER, ann, "fits", body=BIG))
    for recipient in (ann, f"ann+tag@{domain}"):
        with refused(552, "5.2.2"):
            bed.send(STRANGER, recipient, "too large", body=BIG)
    with refused(552, "5.2.2"):
        bed.send(eve, ann, "too large", body=BIG, auth=(eve, PASSWORD))
    bed.settled(bed.send(STRANGER, ann, "smaller", body=BIG[: len(BIG) // 2]))
    assert bed.subjects(ann, PASSWORD) == ["fits", "smaller"]


def test_size_not_declared(bed: Bed, world: World):
    """A message that turns out too large is refused by LMTP, and bounces."""
    ann = world.mailbox(f"ann@{world.domain()}", quota=1)
    said = bed.settled(bed.send(STRANGER, ann, body=BIG * 2, declare_size=False))
    assert "dsn=5.2.2, status=bounced" in said
    assert bed.subjects(ann, PASSWORD) == []


def test_alias_of_a_full_mailbox(bed: Bed, world: World):
    """Behind an alias it bounces: the policy service knows mailboxes only."""
    domain = world.domain()
    info = world.alias(f"info@{domain}", world.mailbox(f"ann@{domain}", quota=1))
    assert "dsn=5.2.2, status=bounced" in bed.settled(bed.send(STRANGER, info, body=BIG * 2))


def test_no_octet_left(bed: Bed, world: World, refused):
    """A mailbox that is filled over IMAP takes no more mail over SMTP, nor over IMAP."""
    ann = world.mailbox(f"ann@{world.domain()}", quota=1)
    with bed.imap(ann, PASSWORD) as client:
        head = b"Subject: x\r\n\r\n"
        assert client.append("INBOX", "", None, head + b"x" * (MB - len(head)))[0] == "OK"
        assert client.append("INBOX", "", None, head)[0] == "NO"
    with refused(552, "5.2.2"):
        bed.send(STRANGER, ann, declare_size=False)


def test_unlimited(bed: Bed, world: World):
    """Quota 0 is no limit, and a larger quota takes what a smaller one refused."""
    domain = world.domain()
    ann, eve = world.mailbox(f"ann@{domain}"), world.mailbox(f"eve@{domain}", quota=1)
    for _ in range(2):
        assert "status=sent" in bed.settled(bed.send(STRANGER, ann, body=BIG))
    bed.settled(bed.send(STRANGER, eve, body=BIG))
    world.set_mailbox(eve, quota=2)
    assert "status=sent" in bed.settled(bed.send(STRANGER, eve, body=BIG))


def test_imap_shows_it(bed: Bed, world: World):
    """IMAP's GETQUOTAROOT names the limit, in KiB."""
    ann = world.mailbox(f"ann@{world.domain()}", quota=3)
    with bed.imap(ann, PASSWORD) as client:
        assert b"STORAGE 0 3072" in client.getquotaroot("INBOX")[1][1][0]
