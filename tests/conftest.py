"""What tests share: real mail servers, for those marked `peers`.

A test with that mark is skipped on a machine without Postfix and Dovecot, or without root, and says
why. With MAILAPI_REQUIRE_PEERS=1 in the environment a test that would be skipped for what it needs
(`needs ...`) fails instead. Other reasons tell of this host: `this host has a configuration`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import bed as beds
import pytest

REQUIRE = "MAILAPI_REQUIRE_PEERS"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("peers") and (reason := beds.missing()):
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.skipped and os.environ.get(REQUIRE) == "1":
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith("needs "):
            report.outcome = "failed"
            report.longrepr = f"{REQUIRE} is set, but this test {reason}"
    return report


@pytest.fixture(scope="session")
def bed() -> Iterator[beds.Bed]:
    """One pair of servers for all tests of a worker; each test has domains of its own."""
    with beds.Bed() as running:
        yield running
