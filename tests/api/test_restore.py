"""A backup of a running service, and a service that starts from a backup."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from process import Service, state
from restapi import HASH, domain, mailbox

from mailapi.cli import main

GENERATION = re.compile(r"userdb_mailapi_generation=(\d+)$", re.MULTILINE)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path / "dev")
    running.start()
    yield running
    running.close()


def command(service: Service, *argv: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, [*argv, f"--dev={service.root}"])
    return result.exit_code, result.output


def fill(service: Service, count: int, name: str = "example.com") -> None:
    service.must("POST", "/domains", domain(name))
    items = [{"method": "POST", "path": "/mailboxes", "body": mailbox(f"u{n}@{name}")}
             for n in range(count)]  # fmt: skip
    service.must("POST", "/batch", items)


def generations(service: Service) -> set[int]:
    """Of the lines of Dovecot's file."""
    return set(map(int, GENERATION.findall((service.dovecot / "users").read_text())))


def test_a_backup_under_load_is_one_moment(service, tmp_path):
    """While clients write, a backup holds all changes up to one generation and none after it."""
    service.must("POST", "/domains", domain())
    end = threading.Event()

    def write(client: Service) -> None:
        number = 0
        while not end.is_set():
            number += 1
            client.must("POST", "/aliases", {"address": f"a{number}@example.com",
                                             "goto": "x@far.example"})  # fmt: skip

    writer = threading.Thread(target=write, args=(service,))
    writer.start()
    try:
        for number in range(10):
            file = tmp_path / f"saved{number}"
            code, said = command(service, "backup", str(file))
            assert code == 0, said
            found = state(file)
            assert len(found["aliases"]) == int(re.search(r"generation (\d+)", said)[1]) - 1
    finally:
        end.set()
        writer.join()


def test_a_restored_state_is_published_at_the_next_start(service, tmp_path):
    """Though it holds far less than the files do, the next start makes it live, without --force."""
    service.must("POST", "/domains", domain("first.example"))
    service.must("POST", "/mailboxes", mailbox("ann@first.example"))
    assert command(service, "backup", str(tmp_path / "saved"))[0] == 0
    fill(service, 30)
    newest = max(generations(service))
    assert command(service, "restore", "--force", str(tmp_path / "saved"))[0] == 75
    assert service.stop() == 0
    assert command(service, "restore", str(tmp_path / "saved"))[0] == 4
    assert command(service, "restore", "--force", str(tmp_path / "saved"))[0] == 0
    service.start()
    service.agrees()
    assert [row["email"] for row in service.state()["mailboxes"]] == ["ann@first.example"]
    assert min(generations(service)) > newest  # Dovecot's answers tell the new file from the old
    status = service.must("GET", "/status")
    assert (status["applied"], status["generation"]) == (True, min(generations(service)))
    assert service.must("GET", "/changes")[0]["name"] == "restore"
    service.stop()
    service.start()  # from now on the guard holds again
    service.agrees()


def test_after_kill_9_all_that_was_acknowledged_is_kept(service, tmp_path):
    """What a killed service left in the write-ahead log is in the copy that is kept."""
    assert command(service, "backup", str(tmp_path / "saved"))[0] == 0
    fill(service, 5)
    service.kill()
    code, said = command(service, "restore", "--force", str(tmp_path / "saved"))
    assert code == 0, said
    kept = Path(re.search(r"What was there is (\S+)\.\n", said)[1])
    assert len(state(kept)["mailboxes"]) == 5
    assert state(kept)["mailboxes"][0]["password_hash"] == HASH
    service.start()
    service.agrees()
    assert service.state()["domains"] == []


def test_a_lost_database_comes_back(service, tmp_path):
    """A host whose state is gone gets it back from the backup, with nothing to force."""
    fill(service, 30)
    assert command(service, "backup", str(tmp_path / "saved"))[0] == 0
    before = (service.postfix / "virtual_mailbox_maps").read_bytes()
    service.kill()
    for file in (service.root / "state").iterdir():
        file.unlink()
    assert command(service, "restore", str(tmp_path / "saved"))[0] == 0
    service.start()
    service.agrees()
    assert (service.postfix / "virtual_mailbox_maps").read_bytes() == before
