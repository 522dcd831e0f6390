"""With [reload] command: what needs a reload of Postfix, and what ends sessions."""

from __future__ import annotations

import imaplib
import json
from collections.abc import Iterator

import pytest
import restapi
from bed import Bed, poll
from world import PASSWORD, BedService, World

pytestmark = pytest.mark.peers
STRANGER = "bob@elsewhere.test"


def reloading(bed: Bed) -> BedService:
    return BedService(bed, reload__command=json.dumps([str(bed.layout.hook)]))


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    """Not the one that other tests share, whose service has no such program."""
    with Bed() as bed:
        yield bed


@pytest.fixture(scope="module")
def service(bed: Bed) -> Iterator[BedService]:
    with reloading(bed) as service:
        yield service


@pytest.fixture(scope="module")
def world(service: BedService) -> World:
    return World(service)


def test_enforce_out_at_once(bed: Bed, world: World):
    """Mail to a recipient that it was sent to a moment ago does not leave without TLS any more,
    though qmgr(8) remembers for half a minute which way that went; nor does it stay when it may."""
    ann = world.mailbox(f"ann@{world.domain()}")

    def sent() -> str:
        return bed.settled(bed.send(ann, "zoe@far.test", auth=(ann, PASSWORD)))

    for _ in range(3):
        assert "status=sent" in sent()
        world.set_mailbox(ann, tls_enforce_out=True)
        assert "status=deferred (TLS is required" in sent()
        world.set_mailbox(ann, tls_enforce_out=False)


@pytest.mark.parametrize("change", [{"active": False}, {"password": "a new one"}, None])
def test_sessions_end(bed: Bed, world: World, change):
    """Who is logged in is thrown out when the mailbox is switched off, removed or has another
    password; who reads another mailbox is not."""
    domain = world.domain()
    ann, eve = world.mailboxes(f"ann@{domain}", f"eve@{domain}")
    with bed.imap(eve, PASSWORD) as other, bed.imap(ann, PASSWORD) as client:
        assert client.noop()[0] == "OK"
        if change:
            world.set_mailbox(ann, **change)
        else:
            world.remove_mailbox(ann)
        with pytest.raises((imaplib.IMAP4.abort, ConnectionError)):
            poll(lambda: client.noop() and False, what="the end of the session")
        assert other.noop()[0] == "OK"


@pytest.fixture(scope="module")
def texthash() -> Iterator[tuple[Bed, BedService]]:
    with Bed("texthash") as bed, reloading(bed) as service:
        yield bed, service


def test_texthash(texthash, refused):
    """Without LMDB every change is live at its answer too, for Postfix is reloaded; there is no
    marker."""
    bed, service = texthash
    world = World(service)
    domain = world.domain()
    ann = world.mailbox(f"ann@{domain}")
    bed.send(STRANGER, ann, "texthash")
    assert bed.messages(ann, PASSWORD, "texthash")
    info = world.alias(f"info@{domain}", ann)
    bed.send(STRANGER, info)
    world.set_alias(info, active=False)
    with refused(550, "User unknown"):
        bed.send(STRANGER, info)
    world.set_domain(domain, active=False)
    with refused(554, "Relay access denied"):
        bed.send(STRANGER, ann)
    assert not list(bed.config.postfix.directory.glob("*.lmdb"))


def test_a_reload_that_fails(texthash, refused):
    """Where Postfix cannot be reloaded the answer is 202 and says so; it is tried again."""
    bed, service = texthash
    bed.stop_postfix()
    status, answer = service.ask("POST", "/domains", restapi.domain("new.example"))
    assert (status, answer["applied"]) == (202, False)
    assert "reload hook failed with exit status 1" in answer["detail"]
    bed.start_postfix()
    path = f"/status?generation={answer['generation']}&wait=10"
    assert service.must("GET", path)["applied"] is True
    with refused(550, "User unknown"):
        bed.send(STRANGER, "ann@new.example")
