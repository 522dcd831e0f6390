"""Domains come and go without a reload: what smtpd(8) remembers of them ends with its process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from bed import Bed
from world import PASSWORD, ByHand

from mailapi.lmdbmap import LmdbMap

pytestmark = pytest.mark.peers
STRANGER = "bob@elsewhere.test"
PROCESSES = 5


@contextlib.contextmanager
def sessions(bed: Bed) -> Iterator[list]:
    """Several sessions at a time, and so as many smtpd processes; idle ones are used again."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(bed.smtp()) for _ in range(PROCESSES)]


def replies(bed: Bed, *recipients: str) -> set[int]:
    """The replies to these recipients, of as many smtpd processes."""
    codes = set()
    with sessions(bed) as clients:
        for client in clients:
            client.mail(STRANGER)
            codes |= {client.rcpt(recipient)[0] for recipient in recipients}
    return codes


def test_new_domain(bed: Bed, world: ByHand):
    """Each process that refused an address a moment ago takes it when its domain has come."""
    domain = "new.example"
    assert replies(bed, f"ann@{domain}") == {554}
    world.domain(domain)
    ann = world.mailbox(f"ann@{domain}")
    assert replies(bed, ann) == {250}
    bed.send(STRANGER, ann, "first")
    assert bed.messages(ann, PASSWORD, "first")


def test_removed_domain(bed: Bed, world: ByHand):
    """Each process that took an address a moment ago refuses it when its domain is gone."""
    domain = world.domain(backupmx=True)
    assert replies(bed, f"ann@{domain}") == {250}
    world.set_domain(domain, active=False)
    assert replies(bed, f"ann@{domain}") == {554}


def test_without_the_marker(bed: Bed, world: ByHand, monkeypatch: pytest.MonkeyPatch):
    """The maps alone do not do it: while the marker stays, the same processes still refuse."""
    domain = "late.example"
    with monkeypatch.context() as patch:
        patch.setattr(LmdbMap, "renew", lambda self: None)
        assert replies(bed, f"ann@{domain}") == {554}
        world.domain(domain)
        ann = world.mailbox(f"ann@{domain}")
        assert bed.postmap_q("virtual_mailbox_domains", [domain]) == {domain: "OK"}
        assert 554 in replies(bed, ann)
    world.domain()
    assert replies(bed, ann) == {250}
