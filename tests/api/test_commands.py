"""The commands as processes of their own: exit codes, what they print, how the service ends."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import NOWHERE, Serving, run
from restapi import DOMAIN


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    found = Serving(tmp_path_factory.mktemp("serving") / "var")
    yield found
    found.end()


def test_serve_without_a_configuration(tmp_path: Path) -> None:
    """78, and it names --dev; a file that is missing is named."""
    if Path("/etc/mailapi/config.toml").exists():
        pytest.skip("this host has a configuration")
    done = run("serve", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert "--dev" in done.stderr
    assert "Traceback" not in done.stderr
    done = run("serve", "--config", tmp_path / "none.toml", cwd=tmp_path)
    assert done.returncode == 78
    assert "none.toml" in done.stderr


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["serve"], "[server]\nport = 'canary'"),
        (["config", "check"], "[servr]\nport = 1"),
        (["key", "list"], "canary"),
        (["status"], "\udcff"),
    ],
)
def test_a_bad_configuration(tmp_path: Path, command: list[str], text: str) -> None:
    """78 for each command that reads it, and no value is repeated; a near miss is guessed."""
    file = tmp_path / "config.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    done = run(*command, "--config", file, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith("mailapi: ")
    assert "canary" not in done.stderr
    assert "servr" not in text or "did you mean server" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["serve", "--nothing"],
        ["render"],
        ["key", "show", "x"],
        ["key", "add"],
        ["serve", "--dev", "a", "--config", "b"],
        ["status", "-o", "xml"],
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    """2, and how it is used."""
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage" in done.stderr


def test_the_first_key(serving: Serving) -> None:
    """It is printed once, kept in admin.key for its owner only, and works."""
    file = serving.directory / "admin.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert serving.says.count(serving.key) == 1
    assert serving.ask("GET", "/keys")[0] == 200


def test_the_state_is_private(serving: Serving) -> None:
    """Nobody else enters the state directory or reads the database."""
    state = serving.directory / "state"
    assert state.stat().st_mode & 0o077 == 0
    assert (state / "mailapi.db").stat().st_mode & 0o077 == 0
    users = serving.directory / "dovecot" / "users"
    assert users.stat().st_mode & 0o007 == 0


def test_two_on_one_state(serving: Serving) -> None:
    """The second ends with 75 and says why; the first goes on."""
    done = serving.run("serve", "--dev", serving.directory, MAILAPI_SERVER__PORT="0")
    assert done.returncode == 75
    assert "Traceback" not in done.stderr
    assert serving.ask("GET", "/status")[0] == 200


def test_a_port_that_is_taken(serving: Serving, tmp_path: Path) -> None:
    """78: another port is a matter of configuration."""
    done = serving.run("serve", "--dev", tmp_path / "other")
    assert done.returncode == 78
    assert "listen" in done.stderr


def test_status(serving: Serving) -> None:
    """0 while everything is live; as a table and as JSON."""
    done = serving.run("status", "--dev", serving.directory, "-o", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    found = found[0] if isinstance(found, list) else found
    assert found["applied"] is True
    assert "generation" in serving.run("status", "--dev", serving.directory).stdout


def test_apply(serving: Serving) -> None:
    """0, and what was done."""
    done = serving.run("apply", "--dev", serving.directory)
    assert (done.returncode, done.stderr) == (0, "")
    assert "applied" in done.stdout


def test_a_wrong_key(serving: Serving) -> None:
    """5: not allowed."""
    for command in ("status", "apply"):
        done = serving.run(command, "--dev", serving.directory, MAILAPI_KEY="mapi_wrong")
        assert done.returncode == 5
        assert "mapi_wrong" not in done.stderr


def test_no_service(tmp_path: Path) -> None:
    """6: it cannot be reached."""
    with socket.socket() as free:
        free.bind((NOWHERE, 0))
        port = str(free.getsockname()[1])
        for command in ("status", "apply"):
            done = run(
                command, "--dev", tmp_path, cwd=tmp_path, MAILAPI_KEY="x", MAILAPI_SERVER__PORT=port
            )
            assert done.returncode == 6, done.stderr
            assert "start it" in done.stderr


def test_keys(serving: Serving) -> None:
    """Made, listed, shown and removed beside the running service, which follows at once."""
    where = ("--dev", serving.directory)
    added = serving.run("key", "add", "reader", "--scope", "read", *where)
    assert added.returncode == 0
    key = added.stdout.strip()
    assert serving.ask("GET", "/status", key=key)[0] == 200
    assert serving.ask("GET", "/keys", key=key)[0] == 403
    listed = json.loads(serving.run("key", "list", "-o", "json", *where).stdout)
    (number,) = [row["id"] for row in listed if row["name"] == "reader"]
    shown = serving.run("key", "show", str(number), *where)
    assert shown.returncode == 0
    assert key not in shown.stdout
    assert serving.run("key", "rm", str(number), *where).returncode == 0
    assert serving.run("key", "show", str(number), *where).returncode == 3
    assert serving.run("key", "rm", str(number), *where).returncode == 3
    deadline = time.monotonic() + 5
    while serving.ask("GET", "/status", key=key)[0] != 401:
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    "arguments",
    [
        ["", "--scope", "read"],
        ["x", "--domain", "no domain"],
        ["x", "--expires", "never"],
        ["x", "--allow-from", "everywhere"],
        ["x", "--scope", "admin", "--domain", "a.example"],
    ],
)
def test_a_key_that_cannot_be(serving: Serving, arguments: list[str]) -> None:
    """1, and what is wrong with it."""
    done = serving.run("key", "add", *arguments, "--dev", serving.directory)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("mailapi: ")


def test_render(serving: Serving, tmp_path: Path) -> None:
    """The same octets as the service's own files, and nothing else is touched."""
    assert serving.ask("POST", "/domains", DOMAIN | {"domain": "render.example"})[0] == 201
    done = serving.run("render", tmp_path / "new", "--dev", serving.directory)
    assert done.returncode == 0
    written = [Path(line) for line in done.stdout.split()]
    assert len(written) == 9
    for file in written:
        own = serving.directory / file.relative_to(tmp_path / "new")
        assert file.read_bytes() == own.read_bytes()
    assert run("render", tmp_path / "x", "--dev", tmp_path / "none", cwd=tmp_path).returncode == 1
    assert not (tmp_path / "none").exists()


def test_config(tmp_path: Path) -> None:
    """The example is a good configuration, and what is shown is one again."""
    example = run("config", "example", cwd=tmp_path)
    assert example.returncode == 0
    file = tmp_path / "config.toml"
    file.write_text(example.stdout)
    assert run("config", "check", "--config", file, cwd=tmp_path).returncode == 0
    shown = run("config", "show", "--config", file, cwd=tmp_path, MAILAPI_SERVER__PORT="99")
    assert "port = 99" in shown.stdout
    file.write_text(shown.stdout)
    assert run("config", "show", "--config", file, cwd=tmp_path).stdout == shown.stdout


def test_config_nginx(tmp_path: Path) -> None:
    """`config nginx` prints server blocks for the configuration that it is given."""
    done = run("config", "nginx", "--dev", tmp_path, cwd=tmp_path, MAILAPI_SERVER__PORT="8099")
    assert done.returncode == 0
    assert "proxy_pass http://127.0.0.1:8099;" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end(tmp_path: Path, number: int) -> None:
    """A request under way is finished and its change is there at the next start; exit code 0."""
    directory = tmp_path / "var"
    first = Serving(directory, MAILAPI_PASSWORDS__BCRYPT_ROUNDS="13")
    assert first.ask("POST", "/domains", DOMAIN)[0] == 201
    key, found = first.key, []
    body = {
        "local_part": "user",
        "domain": "example.com",
        "name": "",
        "password": "long enough",
        "quota": 1,
        "active": True,
    }
    before = _threads(first.process.pid)
    client = threading.Thread(target=lambda: found.append(first.ask("POST", "/mailboxes", body)))
    client.start()
    deadline = time.monotonic() + 20
    while _threads(first.process.pid) == before:
        assert time.monotonic() < deadline
    assert first.end(number) == 0
    client.join(30)
    assert found[0][0] == 201
    assert "Traceback" not in first.says
    second = Serving(directory)
    assert second.ask("GET", "/mailboxes/user@example.com", key=key)[0] == 200
    assert second.key not in second.says  # an old key is not printed again
    assert second.end() == 0


def _threads(pid: int) -> int:
    """How many threads the service has: more, once a password is being hashed."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_an_old_key_file_becomes_private(tmp_path: Path) -> None:
    """A file that others could read is not written to as it is."""
    directory = tmp_path / "var"
    directory.mkdir()
    file = directory / "admin.key"
    file.write_text("old")
    file.chmod(0o644)
    serving = Serving(directory)
    assert file.stat().st_mode & 0o777 == 0o600
    assert serving.end() == 0
