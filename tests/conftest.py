"""What tests share: real mail servers, for those marked `peers`.

A test with that mark is skipped on a machine without Postfix and Dovecot, or without root, and says
why. With MAILAPI_REQUIRE_PEERS=1 in the environment it fails instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import bed as beds
import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("peers") and (reason := beds.missing()):
        if os.environ.get("MAILAPI_REQUIRE_PEERS") == "1":
            pytest.fail(f"MAILAPI_REQUIRE_PEERS is set, but this test {reason}", pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def bed() -> Iterator[beds.Bed]:
    """One pair of servers for all tests of a worker; each test has domains of its own."""
    with beds.Bed() as running:
        yield running
