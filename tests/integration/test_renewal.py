"""Domains come and go without a reload: what smtpd(8) remembers of them ends with its process."""

from __future__ import annotations

import contextlib
import smtplib
from collections.abc import Iterator

import pytest
from bed import Bed
from mishap import Fault
from world import PASSWORD, BedService, World

from mailapi.lmdbmap import LmdbMap

pytestmark = pytest.mark.peers
STRANGER = "bob@elsewhere.test"
PROCESSES = 5


@contextlib.contextmanager
def sessions(bed: Bed) -> Iterator[list[smtplib.SMTP]]:
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


def test_new_domain(bed: Bed, world: World):
    """Each process that refused an address a moment ago takes it when its domain has come."""
    domain = "new.example"
    assert replies(bed, f"ann@{domain}") == {554}
    world.domain(domain)
    ann = world.mailbox(f"ann@{domain}")
    assert replies(bed, ann) == {250}
    bed.send(STRANGER, ann, "first")
    assert bed.messages(ann, PASSWORD, "first")


def test_off_and_on_and_gone(bed: Bed, world: World):
    """Each process that took an address a moment ago refuses it when its domain is off or gone,
    and takes it when it is on again."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    assert replies(bed, ann) == {250}
    world.set_domain(domain, active=False)
    assert replies(bed, ann) == {554}
    world.set_domain(domain, active=True)
    assert replies(bed, ann) == {250}
    world.remove_domain(domain, cascade=True)
    assert replies(bed, ann) == {554}
    assert not bed.logs_in(ann, PASSWORD)
    world.domain(domain)
    assert replies(bed, ann) == {550}


def test_backup_mx(bed: Bed, world: World):
    """The same for a domain of another MX, and for one that becomes that or ceases to be it."""
    domain = world.domain(backupmx=True)
    ann = f"ann@{domain}"
    assert replies(bed, ann) == {250}
    world.set_domain(domain, active=False)
    assert replies(bed, ann) == {554}
    world.set_domain(domain, active=True)
    assert replies(bed, ann) == {250}
    world.set_domain(domain, backupmx=False)
    assert replies(bed, ann) == {550}
    world.set_domain(domain, backupmx=True)
    assert replies(bed, ann) == {250}
    world.remove_domain(domain)
    assert replies(bed, ann) == {554}


def test_without_the_marker():
    """The maps alone do not do it: while the marker stays, the same processes still refuse."""
    domain = "late.example"
    no_renewal = Fault(limits={"mailapi.lmdbmap:LmdbMap.renew": LmdbMap.close})
    with Bed() as bed, BedService(bed, fault=no_renewal) as service:
        world = World(service)
        assert replies(bed, f"ann@{domain}") == {554}
        world.domain(domain)
        world.mailbox(f"ann@{domain}")
        assert bed.postmap_q("virtual_mailbox_domains", [domain]) == {domain: "OK"}
        assert 554 in replies(bed, f"ann@{domain}")
