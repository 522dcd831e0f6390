"""schemathesis makes requests of the OpenAPI document, good ones and bad, and judges the answers.

It makes a few of each operation, always the same. MAILAPI_SCHEMATHESIS=100 lets it make so many.
All of the document is tried; what is for people only, as /password, does not stand there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis_hooks
from commands import environment
from process import Service
from restapi import ALIAS, DOMAIN, JOB, MAILBOX

REQUESTS = int(os.environ.get("MAILAPI_SCHEMATHESIS", "10"))
OPTIONS = (
    "--checks=all",
    # No schema tells what depends on other fields and on what is stored (a quota within the
    # domain's, targets that exist, an If-Match that is the ETag), nor 1 from 1.0, which is refused.
    # `test_patterns` shows that single fields that fit are taken.
    "--exclude-checks=positive_data_acceptance",
    "--generation-deterministic",
    "--continue-on-failure",
    "--suppress-health-check=too_slow",  # the host may be busy
    "--no-color",
)
OBJECTS = (
    ("/domains", DOMAIN),
    ("/mailboxes", MAILBOX),
    ("/aliases", ALIAS),
    ("/aliases", ALIAS | {"address": "two@example.com"}),
    ("/syncjobs", JOB),
    ("/syncjobs", JOB | {"user1": "two@example.org"}),
    ("/keys", {"name": "two", "scope": "read"}),
)


@pytest.fixture
def service(place: Path) -> Iterator[Service]:
    """With the objects that the document's examples name, so that some names are known."""
    found = Service(place / "dev", passwords__bcrypt_rounds="4", rate_limit__auth_failures="0")
    found.start()
    try:
        for path, body in OBJECTS:
            found.must("POST", path, body)
        found.hang_up()  # before the service does: schemathesis takes its time
        yield found
    finally:
        found.close()


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * REQUESTS)
def test_answers_are_as_described(service: Service, tmp_path: Path) -> None:
    """No answer is a 5xx or other than described, nothing bad is taken, nothing is open."""
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{service.url}/openapi.json",
            f"--header=Authorization: Bearer {service.key}",
            f"--max-examples={REQUESTS}",
            *OPTIONS,
        ],
        cwd=tmp_path,
        env=environment(
            no_proxy="127.0.0.1",
            PYTHONPATH=str(Path(schemathesis_hooks.__file__).parent),
            SCHEMATHESIS_HOOKS=schemathesis_hooks.__name__,
        ),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert service.ask("GET", "/status")[0] == 200, "its key was removed, and hid the rest"
