"""Who may log in, over IMAP and SMTP."""

from __future__ import annotations

import threading
import time

import pytest
from bed import Bed, poll
from world import PASSWORD, BedService, World

pytestmark = pytest.mark.peers
STRANGER = "bob@elsewhere.test"


def test_password(bed: Bed, world: World):
    """The right password opens the mailbox, in any case of the name; another one does not."""
    ann = world.mailbox(f"ann@{world.domain()}")
    assert bed.logs_in(ann, PASSWORD)
    assert bed.logs_in(ann.upper(), PASSWORD)
    assert not bed.logs_in(ann, PASSWORD.upper())
    assert not bed.logs_in(ann, "")
    assert not bed.logs_in("nobody@" + ann.partition("@")[2], PASSWORD)


def test_changed_password(bed: Bed, world: World):
    """After a change the old password is refused and the new one taken, each of three times."""
    ann = world.mailbox(f"ann@{world.domain()}")
    old = PASSWORD
    for number in range(3):
        new = f"{PASSWORD} {number}"
        world.set_mailbox(ann, password=new)
        assert bed.opened_by(ann, old, new) == [new]
        old = new


def test_five_changes_in_a_second(bed: Bed, world: World, service: BedService):
    """Of five passwords set within one second only the last opens the mailbox, once it is live."""
    ann = world.mailbox(f"ann@{world.domain()}")
    words = [f"word number {number}" for number in range(6)]

    def in_a_second() -> int:
        """The generation of the last change; 0 if this machine took longer."""
        world.set_mailbox(ann, password=words[0])
        poll(lambda: time.time() % 1 < 0.1, what="the beginning of a second")
        second = int(time.time())
        assert bed.logs_in(ann, words[0])  # now Dovecot looks at its file in the next second only
        for word in words[1:]:
            path, body = f"/mailboxes/{ann}", {"password": word}
            generation = service.stored("PUT", path, body, Prefer="respond-async")
        return generation if int(time.time()) == second else 0

    generation = poll(in_a_second, what="five changes in a second")
    asked = service.must("GET", f"/status?generation={generation}&wait=10")
    assert asked["applied"] is True
    assert bed.opened_by(ann, *words) == words[-1:]


def test_old_password_at_the_answer(bed: Bed, world: World):
    """A client that logs in again and again gets in with the old password until the answer at the
    latest, and never after it."""
    ann = world.mailbox(f"ann@{world.domain()}")
    tries: list[tuple[float, bool]] = []
    over = threading.Event()

    def log_in() -> None:
        while not over.is_set():
            begin = time.monotonic()
            tries.append((begin, bed.logs_in(ann, PASSWORD)))

    clients = [threading.Thread(target=log_in) for _ in range(3)]
    for client in clients:
        client.start()
    poll(lambda: len(tries) > 5, what="log-ins")
    world.set_mailbox(ann, password="a new one")
    answered = time.monotonic()
    poll(lambda: sum(begin > answered for begin, _ in tries) > 5, what="log-ins")
    over.set()
    for client in clients:
        client.join()
    assert any(taken for _, taken in tries)
    assert not [begin for begin, taken in tries if taken and begin > answered]


def test_force_pw_update(bed: Bed, world: World, refused):
    """Until the owner sets a new password, mail comes in and no log-in works, IMAP or SMTP."""
    ann = world.mailbox(f"ann@{world.domain()}", force_pw_update=True)
    bed.settled(bed.send(STRANGER, ann, "meanwhile"))
    assert not bed.logs_in(ann, PASSWORD)
    with refused(535):
        bed.send(ann, ann, auth=(ann, PASSWORD))
    world.set_mailbox(ann, force_pw_update=False)
    assert bed.messages(ann, PASSWORD, "meanwhile")
    bed.send(ann, ann, auth=(ann, PASSWORD))


def test_smtp_password(bed: Bed, world: World, refused):
    """Submission takes the right password and no other, on both of its ports."""
    ann = world.mailbox(f"ann@{world.domain()}")
    bed.send(ann, "zoe@far.test", auth=(ann, PASSWORD))
    bed.send(ann, "zoe@far.test", auth=(ann, PASSWORD), port=bed.layout.submissions_port)
    for port in (bed.layout.submission_port, bed.layout.submissions_port):
        with refused(535):
            bed.send(ann, "zoe@far.test", auth=(ann, "wrong"), port=port)


def test_no_password_in_the_clear(bed: Bed, world: World):
    """AUTH is offered over TLS only, and never on port 25."""
    world.domain()
    with bed.smtp(bed.layout.submission_port) as client:
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", "PLAIN AGEAYgBj")[0] == 530
    with bed.smtp(bed.layout.submission_port, starttls=True) as client:
        assert client.has_extn("auth")
    with bed.smtp(starttls=True) as client:
        assert not client.has_extn("auth")


def test_submission_wants_a_log_in(bed: Bed, world: World, refused):
    """Nobody sends through the submission ports without a log-in, not even to our own mailboxes."""
    ann = world.mailbox(f"ann@{world.domain()}")
    with refused(530, "STARTTLS"):
        bed.send(STRANGER, ann, port=bed.layout.submission_port)
    for own_host in (False, True):
        with refused(554):
            bed.send(
                STRANGER, ann, port=bed.layout.submission_port, starttls=True, own_host=own_host
            )


def test_apostrophe(bed: Bed, world: World):
    """O'Neil logs in and gets his mail: Dovecot looks for the apostrophe behind a backslash."""
    email = world.mailbox(f"o'neil@{world.domain()}", password="the right one")
    assert bed.logs_in(email, "the right one")
    bed.send("someone@elsewhere.example", email, subject="for o'neil")
    assert bed.messages(email, "the right one", "for o'neil")
