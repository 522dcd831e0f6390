"""The administrators' socket: who needs no key there, and that nobody else gets in by it."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import pwd
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from process import Service

from mailapi import app, config, errors, local
from mailapi.api import peer

DOMAINS = "http://localhost/api/v1/domains"
DOMAIN = {"domain": "example.com", "active": True, "aliases": 9, "mailboxes": 9,
          "defquota": 1, "maxquota": 1, "quota": 1}  # fmt: skip
NOBODY, NOGROUP = 65534, 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to ask as another user")


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that all users may enter, for tmp_path is root's alone."""
    with tempfile.TemporaryDirectory(prefix="mailapi-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def service(tmp_path: Path, directory: Path) -> Iterator[Service]:
    """With both sockets: `keyed` for a web server, `admin` for administrators."""
    running = Service(
        tmp_path / "dev",
        server__socket=str(directory / "keyed"),
        server__admin_socket=str(directory / "admin"),
    )
    running.start()
    (directory / "keyed").chmod(0o666)
    yield running
    running.close()


def ask(path: Path, *options: str, url: str = DOMAINS, **who: Any) -> tuple[int, Any]:
    """What curl gets over the Unix socket as another user: status and JSON."""
    command = ["curl", "-sS", "-w", "\n%{http_code}", "--unix-socket", str(path), *options, url]
    who = {"user": 0, "group": 0, "extra_groups": []} | who
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=20, **who)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


def posted(body: Any) -> tuple[str, ...]:
    return ("-H", "Content-Type: application/json", "-d", json.dumps(body))


def test_root_needs_no_key(service, directory):
    """Root changes something without a key, and the change log names him."""
    assert ask(directory / "admin", *posted(DOMAIN))[0] == 201
    status, changes = ask(directory / "admin", url="http://localhost/api/v1/changes")
    assert status == 200
    assert changes[0]["who"] == "local:root"
    assert ask(directory / "admin", url="http://localhost/api/v1/keys")[0] == 200


def test_the_other_socket_stays_keyed(service, directory):
    """Over the socket for the web server root is nobody without a key, whatever he writes."""
    for header in ("Host: admin", "X-Forwarded-For: local", f"X-Socket: {directory / 'admin'}"):
        assert ask(directory / "keyed", "-H", header)[0] == 401
    key = (service.root / "admin.key").read_text().strip()
    assert ask(directory / "keyed", "-H", f"Authorization: Bearer {key}")[0] == 200


def test_others_are_refused(service, directory):
    """A user who is none of these is kept out by the mode, and refused where it lets him in."""
    admin = directory / "admin"
    assert stat.S_IMODE(admin.stat().st_mode) == 0o660
    with pytest.raises(subprocess.CalledProcessError):
        ask(admin, user=NOBODY, group=NOGROUP)
    admin.chmod(0o666)
    status, answer = ask(admin, user=NOBODY, group=NOGROUP)
    assert (status, answer["code"]) == (401, "unauthorized")
    assert ask(admin, url="http://localhost/api/v1/healthz", user=NOBODY, group=NOGROUP)[0] == 200


def test_a_key_is_honoured(service, directory):
    """A key that is sent counts, and not who sends it: also to be less than root."""
    admin = directory / "admin"
    key = local.add_key(config.dev(service.root), {"name": "r", "scope": "read"})
    header = ("-H", f"Authorization: Bearer {key}")
    assert ask(admin, *header)[0] == 200
    assert ask(admin, *header, *posted(DOMAIN))[0] == 403
    assert ask(admin, "-H", "Authorization: Bearer wrong")[0] == 401
    admin.chmod(0o666)
    assert ask(admin, *header, user=NOBODY, group=NOGROUP)[0] == 200


def test_it_is_not_there_unless_configured(tmp_path):
    """Without `[server] admin_socket` there is none, and no request without a key gets in."""
    running = Service(tmp_path / "dev")
    running.start()
    try:
        running.key = ""
        assert running.ask("GET", "/domains")[0] == 401
        assert not [p for p in running.root.rglob("*") if p.is_socket()]
    finally:
        running.close()


def test_the_sockets_must_differ(monkeypatch, tmp_path):
    """One path for both would open the keyed one; the configuration is refused."""
    monkeypatch.setenv("MAILAPI_SERVER__SOCKET", "/run/mailapi/one")
    monkeypatch.setenv("MAILAPI_SERVER__ADMIN_SOCKET", "/run/mailapi/one")
    with pytest.raises(errors.ConfigError, match="must differ"):
        config.dev(tmp_path)


# ---------- in this process, so that the group can be one that exists everywhere ----------


@pytest.fixture
async def admin(tmp_path, directory, monkeypatch) -> AsyncIterator[Path]:
    """A service of `nobody`'s group; asyncio's own event loop."""
    monkeypatch.setattr(peer, "GROUP", grp.getgrgid(NOGROUP).gr_name)
    monkeypatch.setenv("MAILAPI_SERVER__PORT", "0")
    monkeypatch.setenv("MAILAPI_SERVER__ADMIN_SOCKET", str(directory / "admin"))
    monkeypatch.setenv("MAILAPI_RATE_LIMIT__REQUESTS", "5")
    what = config.dev(tmp_path)
    runner = web.AppRunner(app.create(what))
    await runner.setup()
    await app.listen(runner, what)
    yield directory / "admin"
    await runner.cleanup()


async def test_members_by_their_group(admin):
    """A process of the group gets in, its user with another group does not."""
    assert admin.stat().st_gid == NOGROUP
    admin.chmod(0o666)
    games = pwd.getpwnam("games")
    for group, expected in ((NOGROUP, 200), (games.pw_gid, 401)):
        status, _ = await asyncio.to_thread(ask, admin, user=games.pw_uid, group=group)
        assert status == expected


async def test_members_by_the_group_database(admin, monkeypatch):
    """A user whom the database lists gets in until it does not any more."""
    listed = next((g for g in grp.getgrall() if any(_uid(m) for m in g.gr_mem)), None)
    if listed is None:
        pytest.skip("this host has no group that lists a member other than root")
    name = next(m for m in listed.gr_mem if _uid(m))
    admin.chmod(0o666)
    monkeypatch.setattr(peer, "GROUP", listed.gr_name)
    who = {"user": _uid(name), "group": pwd.getpwnam(name).pw_gid}
    assert (await asyncio.to_thread(ask, admin, **who))[0] == 200
    monkeypatch.setattr(peer, "GROUP", "no-such-group")
    assert (await asyncio.to_thread(ask, admin, **who))[0] == 401


async def test_each_has_his_limit(admin):
    """Requests without a key are limited by user, and those of strangers cost nobody else's."""
    admin.chmod(0o666)
    for _ in range(6):
        last, _ = await asyncio.to_thread(ask, admin, user=1, group=1)
    assert last == 429
    for _ in range(6):
        before = last
        last, _ = await asyncio.to_thread(ask, admin)
        assert before in (200, 429)
    assert (before, last) == (200, 429)


def _uid(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return 0
