"""The objects that integration tests make, live on the bed."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from bed import Bed
from world import BedService, World


@pytest.fixture(scope="session")
def service(bed: Bed) -> Iterator[BedService]:
    with BedService(bed) as service:
        yield service


@pytest.fixture(scope="session")
def world(service: BedService) -> World:
    return World(service)


@pytest.fixture(autouse=True)
def _servers_log(request: pytest.FixtureRequest, bed: Bed) -> Iterator[None]:
    """What the servers log during a test goes with its report, which shows it if it fails."""
    before = len(bed.logs())
    yield
    request.node.add_report_section("call", "servers", bed.logs()[before:])


@pytest.fixture
def refused() -> Callable[..., AbstractContextManager[None]]:
    """`with refused(550, "User unknown"):` - the SMTP reply, and a part of its text."""

    @contextmanager
    def refused(code: int, text: str = "") -> Iterator[None]:
        with pytest.raises(smtplib.SMTPResponseException) as caught:
            yield
        assert caught.value.smtp_code == code
        assert text in str(caught.value.smtp_error)

    return refused
