"""Servers and the service end and come back; nothing has to be done by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bed import Bed, poll
from world import PASSWORD, BedService, World

pytestmark = pytest.mark.peers
STRANGER = "bob@elsewhere.test"


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    """Not the one that other tests share."""
    with Bed() as bed:
        yield bed


@pytest.fixture(scope="module")
def service(bed: Bed) -> Iterator[BedService]:
    with BedService(bed) as service:
        yield service


@pytest.fixture(scope="module")
def world(service: BedService) -> World:
    return World(service)


def works(bed: Bed, world: World, ann: str) -> None:
    """The mailbox gets mail and log-ins, and so does one that is new."""
    eve = world.mailbox(ann.replace("ann", "eve"))
    for mailbox in (eve, ann):
        assert bed.logs_in(mailbox, PASSWORD)
        bed.send(STRANGER, mailbox, "works")
        assert bed.messages(mailbox, PASSWORD, "works")


@pytest.mark.parametrize("end", [BedService.stop, BedService.kill])
def test_the_service_restarts(bed: Bed, service: BedService, world: World, end):
    """Mail flows while the service is away, and the next change is live at its answer."""
    ann = world.mailbox(f"ann@{world.domain()}")
    end(service)
    assert bed.logs_in(ann, PASSWORD)
    bed.send(STRANGER, ann, "without the service")
    assert bed.messages(ann, PASSWORD, "without the service")
    service.start()
    world.set_mailbox(ann, password="a new one")
    assert bed.opened_by(ann, PASSWORD, "a new one") == ["a new one"]
    world.set_mailbox(ann, password=PASSWORD)
    works(bed, world, ann)


def test_the_service_is_killed_before_it_answers(bed: Bed, service: BedService, world: World):
    """A change that was stored without an answer is live once the service is ready again."""
    ann = world.mailbox(f"ann@{world.domain()}")
    assert bed.logs_in(ann, PASSWORD)
    service.stored("PUT", f"/mailboxes/{ann}", {"password": "a new one"}, Prefer="respond-async")
    service.kill()
    service.start()
    status = service.must("GET", "/status")
    assert service.must("GET", f"/status?generation={status['generation']}&wait=10")["applied"]
    assert bed.opened_by(ann, PASSWORD, "a new one") == ["a new one"]


def test_dovecot_restarts(bed: Bed, world: World):
    """The first change after a restart of Dovecot is live at its answer."""
    ann = world.mailbox(f"ann@{world.domain()}")
    bed.stop_dovecot()
    bed.start_dovecot()
    world.set_mailbox(ann, password="a new one")
    assert bed.opened_by(ann, PASSWORD, "a new one") == ["a new one"]
    world.set_mailbox(ann, password=PASSWORD)
    works(bed, world, ann)


def test_postfix_restarts(bed: Bed, world: World, refused):
    """Postfix comes back with all that was changed while it was away."""
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    bed.stop_postfix()
    world.set_mailbox(ann, active=False)
    other = world.domain()
    bob = world.mailbox(f"bob@{other}")
    bed.start_postfix()
    with refused(550, "User unknown"):
        bed.send(STRANGER, ann)
    bed.send(STRANGER, bob, "since then")
    assert bed.messages(bob, PASSWORD, "since then")
    world.set_mailbox(ann, active=True)
    works(bed, world, ann)


def test_dovecot_is_away(bed: Bed, service: BedService, world: World):
    """A change of users is stored and answered with 202, which says why it is not live; it becomes
    live by itself when Dovecot is back. Postfix acts on changes meanwhile."""
    domain = world.domain()
    ann, info = world.mailbox(f"ann@{domain}"), f"info@{domain}"
    bed.stop_dovecot()
    status, answer = service.ask("PUT", f"/mailboxes/{ann}", {"password": "a new one"})
    assert (status, answer["applied"]) == (202, False)
    assert "start Dovecot" in answer["detail"]
    assert "will be tried again" in answer["detail"]
    assert not service.ready()
    service.stored("POST", "/aliases", {"address": info, "goto": ann})
    queue_id = bed.send(STRANGER, info, "kept")
    assert "status=deferred" in bed.settled(queue_id)
    bed.start_dovecot()
    path = f"/status?generation={answer['generation']}&wait=10"
    assert service.must("GET", path)["applied"] is True
    assert bed.opened_by(ann, PASSWORD, "a new one") == ["a new one"]
    poll(service.ready, what="ready")
    bed.flush(queue_id)
    assert bed.messages(ann, "a new one", "kept")
