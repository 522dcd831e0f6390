"""Owners change their passwords on /password, and log in to the real servers."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from bed import Bed
from hashes import HASHES
from hashes import PASSWORD as HASHED
from world import PASSWORD, BedService, World

pytestmark = pytest.mark.peers
NEW = "quite another one"
Refused = Callable[..., AbstractContextManager[None]]


def change(service: BedService, email: str, current: str, new: str = NEW) -> tuple[int, str]:
    """Send the form of the page; the status and the page that comes back."""
    form = {"email": email, "current": current, "new": new, "repeated": new}
    url = service.url.removesuffix("/api/v1") + "/password"
    try:
        with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), 40) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_way_out_of_force_pw_update(
    bed: Bed, service: BedService, world: World, refused: Refused
) -> None:
    """Nobody logs in before; as soon as the page says so, the new password works everywhere."""
    ann = world.mailbox(f"ann@{world.domain()}", force_pw_update=True)
    assert not bed.logs_in(ann, PASSWORD)
    status, page = change(service, ann, PASSWORD)
    assert (status, "works from now on" in page) == (200, True)
    assert bed.logs_in(ann, NEW)
    bed.send(ann, "zoe@far.test", auth=(ann, NEW))
    assert not bed.logs_in(ann, PASSWORD)
    with refused(535):
        bed.send(ann, "zoe@far.test", auth=(ann, PASSWORD))


def test_changes_one_after_the_other(bed: Bed, service: BedService, world: World) -> None:
    """From the moment of each answer only the newest of five passwords works."""
    ann = world.mailbox(f"ann@{world.domain()}")
    old = PASSWORD
    for number in range(5):
        new = f"{NEW} {number}"
        assert change(service, ann, old, new)[0] == 200
        assert not bed.logs_in(ann, old)
        assert bed.logs_in(ann, new)
        old = new


@pytest.mark.parametrize("digest", HASHES, ids=lambda digest: digest[1:].partition("}")[0])
def test_hashes_from_elsewhere(bed: Bed, service: BedService, world: World, digest: str) -> None:
    """A password that Dovecot takes for a hash of any scheme, the page takes, too."""
    ann = world.mailbox(f"ann@{world.domain()}", password_hash=digest, password=None)
    assert bed.logs_in(ann, HASHED)
    assert change(service, ann, HASHED)[0] == 200
    assert bed.logs_in(ann, NEW)


def test_a_refusal_changes_nothing(bed: Bed, service: BedService, world: World) -> None:
    """After a wrong password the old one still works."""
    ann = world.mailbox(f"ann@{world.domain()}")
    assert change(service, ann, "wrong")[0] == 403
    assert bed.logs_in(ann, PASSWORD)
