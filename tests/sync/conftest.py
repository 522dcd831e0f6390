"""A Dovecot as the remote side, and a bed of its own, which has no other service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from bed import Bed
from line import Line
from remote import Remote
from syncing import Syncing


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with Bed() as running:
        yield running


@pytest.fixture
def remote() -> Iterator[Remote]:
    with Remote() as running:
        yield running


@pytest.fixture
async def sync(bed: Bed, remote: Remote) -> AsyncIterator[Syncing]:
    async with Syncing(bed, remote) as running:
        yield running


@pytest.fixture
async def line(remote: Remote) -> AsyncIterator[Line]:
    """It goes silent in the middle of a copy."""
    async with Line(remote.port) as running:
        running.room = 4_000_000
        yield running
