"""The README, the routes, the error codes and the configuration say the same."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from mailapi import app, config, errors, local
from mailapi.api.answers import STATUS
from mailapi.cli import EXIT, main
from mailapi.syncrunner.faults import RESULTS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(sub) for sub in kind.__subclasses__()))


CODES = {
    kind.code for kind in subclasses(errors.MailapiError) if kind.__module__ == "mailapi.errors"
} - {"refused", "unavailable", "not_live"}  # these are only parents


@pytest.mark.parametrize("code", sorted(CODES))
def test_error_codes_are_explained(code):
    """Every code has a row in the README: what it means and what to do."""
    assert re.search(rf"^\| `{code}`", README, re.MULTILINE)


def test_no_code_is_invented():
    """Every code that the README explains exists."""
    named = set(re.findall(r"^\| `([a-z_]+)`(?: \(exit \d+\))? \|", README, re.MULTILINE))
    named -= {"not_stored", "exit_status"}
    assert named - CODES - RESULTS <= {"virtual_mailbox_domains", "virtual_mailbox_maps",
        "virtual_alias_maps", "smtpd_sender_login_maps", "recipient_access", "users",
        "sender_dependent_default_transport_maps"}  # fmt: skip


@pytest.mark.parametrize("result", sorted(RESULTS))
def test_ends_of_sync_jobs_are_explained(result):
    """Every `exit_status` stands in the README's table of them."""
    assert re.search(rf"^\|.*`{result}`.*\|", README, re.MULTILINE)


@pytest.mark.parametrize(("kind", "status"), STATUS.items())
def test_statuses_are_explained(kind, status):
    """The README's table has the status of each code."""
    assert re.search(rf"^\| `{kind.code}` \| {status} \|", README, re.MULTILINE)


@pytest.mark.parametrize(("kind", "code"), EXIT.items())
def test_exit_codes_are_explained(kind, code):
    """The README names every exit code."""
    assert re.search(rf"\b{code}\b", README[README.index("Exit codes:") :][:300])


def test_routes_are_explained(tmp_path):
    """Every route that is registered stands in the README."""
    for resource in app.create(config.dev(tmp_path)).router.resources():
        first = resource.canonical.removeprefix("/api/v1").split("{")[0].rstrip("/")
        assert f"{first}`" in README or f"{first}/" in README, resource.canonical


def test_commands_are_explained():
    """Every command stands in the README."""
    for name in main.commands:
        assert f"mailapi {name}" in README


def test_configuration_sections_exist():
    """What the README writes in brackets is a section of the configuration."""
    for section in re.findall(r"`\[([a-z_]+)\]", README):
        assert section in config.Config.model_fields


async def test_the_first_mailbox(tmp_path):
    """The commands of "The first mailbox" do what the README says, in its words."""
    what = config.dev(tmp_path)
    key = local.add_key(what, {"name": "admin", "scope": "admin"})
    lines = [line for line in README.splitlines() if line.startswith("curl -H ")]
    assert len(lines) == 3
    async with TestServer(app.create(what)) as server:
        for line, msg in zip(lines, ["Domain has been added to system", "Mailbox has been added",
                                     "Alias has been added"], strict=True):  # fmt: skip
            line = line.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}").replace("$KEY", key)
            command = [*shlex.split(line), "--silent"]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
            answer = json.loads(done.stdout)
            assert (answer["msg"], answer["applied"]) == (msg, True)
            assert msg in README


async def test_the_worked_examples(tmp_path):
    """Each example of the API answers with success, in the order in which they stand."""
    what = config.dev(tmp_path)
    key = local.add_key(what, {"name": "admin", "scope": "admin"})
    local.add_key(what, {"name": "second", "scope": "read"})
    part = README[README.index("## The API") : README.index("### Lists")]
    examples = [line for line in part.splitlines() if line.startswith("curl ")]
    first = [line for line in README.splitlines() if line.startswith("curl -H ")]
    assert len(examples) > 12
    async with TestServer(app.create(what)) as server:
        base = f"http://127.0.0.1:{server.port}/api/v1"
        short = "curl -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json'"
        for line in first[:2] + [line.replace("curl", short, 1) for line in examples]:
            line = line.replace("http://127.0.0.1:8080/api/v1", base).replace("$A", base)
            words = [*shlex.split(line.replace("$KEY", key)), "-sw", "%{http_code}"]
            done = await asyncio.to_thread(subprocess.run, words, capture_output=True, check=True)
            known = (b"200", b"201", b"503" if "test=1" in line else b"")  # there is no runner
            assert done.stdout[-3:] in known, line + done.stdout.decode()
