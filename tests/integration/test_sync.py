"""Sync jobs from a second Dovecot, run by a runner with the rights of the mail's user."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from bed import Bed
from remote import Remote
from syncing import Syncing

pytestmark = pytest.mark.peers


@pytest.fixture
def remote() -> Iterator[Remote]:
    with Remote() as running:
        yield running


@pytest.fixture
async def sync(bed: Bed, remote: Remote) -> AsyncIterator[Syncing]:
    async with Syncing(bed, remote) as running:
        yield running


async def test_a_copy(sync: Syncing, remote: Remote) -> None:
    """Folders, order, dates and flags arrive as they are; a second run copies nothing."""
    for folder, count in (("INBOX", 20), ("Entw&APw-rfe", 4), ("a", 0), ("a/b", 3)):
        remote.fill(folder, count)
    ann = await sync.mailbox()
    source = remote.contents()
    job = await sync.job(ann)
    shown = await sync.ran(job)
    assert (shown["success"], shown["exit_status"]) == (True, "ok"), await sync.runs(job)
    assert (shown["messages"], shown["share"], shown["is_running"]) == (27, 1.0, False)
    found = sync.contents(ann)
    assert {name.replace(".", "/"): rows for name, rows in found.items()} == source
    shown = await sync.again(job)
    assert (shown["success"], shown["messages"], shown["bytes"]) == (True, 0, 0)
    assert sync.contents(ann) == found
    assert remote.contents() == source
