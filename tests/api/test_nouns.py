"""The commands for domains, mailboxes, aliases and changes, against a running service."""

from __future__ import annotations

import contextlib
import fcntl
import http.server
import json
import os
import pty
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from bed import poll
from click.testing import CliRunner, Result
from process import Service

from mailapi import config, local, models, passwords
from mailapi.cli import main
from mailapi.cli import passwords as asked
from mailapi.cli.objects import ALIAS, CHANGES, DOMAIN, MAILBOX, Noun

Run = Callable[..., Result]
numbers = count(1)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for the module; each test has a domain of its own."""
    with tempfile.TemporaryDirectory(prefix="mailapi-") as directory:
        running = Service(
            tmp_path_factory.mktemp("nouns") / "dev",
            passwords__bcrypt_rounds="4",
            server__admin_socket=f"{directory}/admin",
        )
        running.admin_socket = Path(directory, "admin")
        running.start()
        yield running
        running.close()


@pytest.fixture
def run(service: Service) -> Run:
    """The command with the key of an administrator, or `key`; None: without one."""

    def running(
        *argv: str, key: str | None = service.key, stdin: str = "", url: str = ""
    ) -> Result:
        argv = (*argv, "--url", url or service.url)
        return CliRunner().invoke(main, argv, input=stdin, env={"MAILAPI_KEY": key})

    return running


@pytest.fixture
def name(run: Run) -> str:
    """A domain of the test."""
    name = f"d{next(numbers)}.example"
    assert run("domain", "add", name, "--quota", "100000").exit_code == 0
    return name


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# ---------- the table of nouns and the models say the same ----------

TYPES = {"bool": bool, "int": int, "str": str, "tuple": list}
FIXED = {"domain", "local_part", "address", "password", "password_hash"}


@pytest.mark.parametrize(
    ("noun", "model"),
    [(DOMAIN, models.DomainAdd), (MAILBOX, models.MailboxAdd), (ALIAS, models.AliasAdd)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_options_are_the_fields(noun: Noun, model: type[models.Model]) -> None:
    """Each field of the API is an option of its type, and there is no other."""
    known = {name: TYPES[getattr(field.annotation, "__name__", "tuple").split("[")[0]]
             for name, field in model.model_fields.items() if name not in FIXED}  # fmt: skip
    assert {field.name: field.type for field in noun.fields if not field.only_set} == known


@pytest.mark.parametrize(
    ("noun", "model"),
    [(DOMAIN, models.Domain), (MAILBOX, models.Mailbox), (ALIAS, models.Alias),
     (CHANGES, models.Change)],
)  # fmt: skip
def test_columns_are_fields(noun: Noun, model: type[models.Model]) -> None:
    """Each column of a list is a field that GET shows."""
    assert set(noun.columns) <= set(model.model_fields)


# ---------- what they do ----------


def test_a_domain_from_add_to_rm(run):
    """add, list, show, set and rm of a domain do what they say."""
    assert run("domain", "add", "Whole.Example", "--no-active", "--mailboxes", "3").exit_code == 0
    shown = answer(run("domain", "show", "whole.example", "-o", "json"))
    assert (shown["active"], shown["mailboxes"], shown["backupmx"]) == (False, 3, False)
    assert run("domain", "set", "whole.example", "--active", "--backupmx").exit_code == 0
    listed = run("domain", "list", "-q", "whole")
    assert listed.stdout.splitlines()[1].split()[:3] == ["whole.example", "yes", "yes"]
    done = run("domain", "rm", "whole.example")
    assert done.stdout == "Domain has been removed: whole.example.\n"
    assert run("domain", "show", "whole.example").exit_code == 3


def test_a_mailbox_from_add_to_rm(run, name):
    """add, show, set and rm of a mailbox; without --quota it gets the domain's."""
    ann = f"ann@{name}"
    added = answer(run("mailbox", "add", ann, "--name", "Ann", "--generate", "-o", "json"))
    assert added["data"]["quota"] == 3072
    assert len(added["password"]) == 23
    changed = answer(run("mailbox", "set", ann, "--quota", "5000", "--no-active", "-o", "json"))
    assert (changed["data"]["quota"], changed["data"]["active"]) == (5000, False)
    shown = run("mailbox", "show", ann).stdout
    assert "quota            5000\n" in shown
    gone = run("mailbox", "rm", ann)
    assert gone.stdout.startswith(f"Mailbox has been removed: {ann}. ")
    assert run("mailbox", "rm", ann).exit_code == 3


def test_an_alias_by_number_and_address(run, name):
    """An alias is found by its number and by its address in any case, a catch-all too."""
    info, goto = f"info@{name}", ["--goto", "x@far.example", "--goto", "y@far.example"]
    made = answer(run("alias", "add", info, *goto, "--description", "a\nb", "-o", "json"))
    assert made["data"]["goto"] == "x@far.example,y@far.example"
    assert run("alias", "add", f"@{name}", "--goto", info).exit_code == 0
    assert run("alias", "add", f"1{info}", "--goto", info).exit_code == 0  # info@ is a part of it
    for which in (str(made["id"]), info, info.upper()):
        assert answer(run("alias", "show", which, "-o", "json"))["address"] == info
    assert answer(run("alias", "show", f"@{name}", "-o", "json"))["goto"] == info
    assert run("alias", "set", f"@{name}", "--address", f"all@{name}").exit_code == 0
    assert run("alias", "rm", f"all@{name}").exit_code == 0
    for unknown in (f"@{name}", "999999", "no address", f"fo@{name}", "", "..", "1/2"):
        assert run("alias", "show", unknown).exit_code == 3, unknown


def test_filters(run, name):
    """Lists take --domain, --active, -q and --limit."""
    for user in ("ann", "bob", "zoe"):
        run("mailbox", "add", f"{user}@{name}", "--generate", "--name", f"{user} & co")
    run("mailbox", "set", f"bob@{name}", "--no-active")

    def listed(*options: str) -> list[str]:
        rows = answer(run("mailbox", "list", "--domain", name, "-o", "json", *options))
        return [row["local_part"] for row in rows]

    assert listed() == ["ann", "bob", "zoe"]
    assert listed("--active") == ["ann", "zoe"]
    assert listed("--no-active") == ["bob"]
    assert listed("-q", "zoe & co") == ["zoe"]
    assert listed("--limit", "2") == ["ann", "bob"]
    assert f"ann@{name}" not in run("mailbox", "list", "--domain", "no.example").stdout


def test_changes(run, name):
    """The change log is listed newest first, with all of it as JSON."""
    run("domain", "set", name, "--description", "new")
    rows = answer(run("changes", "list", "--domain", name, "-o", "json"))
    assert [row["action"] for row in rows] == ["update", "add"]
    assert rows[0]["after"]["description"] == "new"
    assert len(run("changes", "list", "--limit", "1").stdout.splitlines()) == 2


def test_long_text_stays_on_one_line(run, name):
    """A list shows the beginning of a long text or one of many lines, `show` all of it."""
    run("domain", "set", name, "--description", "line\n" * 100)
    assert len(run("domain", "list", "-q", name).stdout.splitlines()) == 2
    assert run("domain", "show", name).stdout.count("line") == 100


# ---------- passwords ----------


def stored(service: Service, email: str) -> str:
    return str(
        next(m for m in service.state()["mailboxes"] if m["email"] == email)["password_hash"]
    )


def verify(password: str, stored: str) -> bool:
    return bcrypt.checkpw(password.encode(), stored.removeprefix("{BLF-CRYPT}").encode())


def test_password_from_standard_input(run, name, service):
    """The password is the whole of standard input but one newline, and is not shown again."""
    secret = "  ünï cödé  "
    done = run("mailbox", "add", f"in@{name}", "--password-stdin", stdin=f"{secret}\n")
    assert verify(secret, stored(service, f"in@{name}"))
    assert secret.strip() not in done.output
    assert run("mailbox", "set", f"in@{name}", "--password-stdin", stdin="").exit_code == 2
    two = run("mailbox", "set", f"in@{name}", "--password-stdin", stdin="one password\nanother\n")
    assert two.exit_code == 1
    assert "one password" not in two.output
    assert verify(secret, stored(service, f"in@{name}"))


def test_generated_passwords(run, name, service):
    """A generated password is the mailbox's, is printed once, and is another each time."""
    said = run("mailbox", "add", f"gen@{name}", "--generate").stdout
    password = said.split()[-1]
    assert verify(password, stored(service, f"gen@{name}"))
    again = run("mailbox", "set", f"gen@{name}", "--generate").stdout.split()[-1]
    assert verify(again, stored(service, f"gen@{name}"))
    assert again != password
    passwords.check(asked.generated(), 23)


def test_no_password_in_argv(run, name):
    """No option takes a password as its value, and what was tried is not repeated."""
    for option in ("--password", "--password=hunter22hunter", "--generate=hunter22hunter"):
        refused = run("mailbox", "set", f"ann@{name}", option, "hunter22hunter")
        assert refused.exit_code == 2
    both = run("mailbox", "add", f"ann@{name}", "--generate", "--password-stdin")
    assert both.exit_code == 2


def test_without_a_terminal_nothing_is_asked(run, name):
    """Where there is nobody to ask, the message names the other ways."""
    refused = run("mailbox", "add", f"ann@{name}")
    assert refused.exit_code == 2
    assert "--password-stdin" in refused.stderr


def test_the_prompt(service, run, name):
    """On a terminal the password is asked for twice, and is not shown while it is typed."""
    email, secret = f"tty@{name}", "typed on a terminal"
    master, slave = pty.openpty()
    environment = os.environ | {"MAILAPI_KEY": service.key}
    argv = [sys.executable, "-m", "mailapi", "mailbox", "add", email, "--url", service.url]
    child = subprocess.Popen(
        argv, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(slave)
    os.set_blocking(master, False)
    screen = b""

    def shows(text: bytes) -> bool:
        nonlocal screen
        with contextlib.suppress(OSError):  # nothing to read, or the child has ended
            screen += os.read(master, 4096)
        return text in screen

    poll(lambda: shows(b"Password: "), 20, "the prompt")
    os.write(master, secret.encode() + b"\n")
    poll(lambda: shows(b"confirmation: "), 20, "the second prompt")
    os.write(master, secret.encode() + b"\n")
    poll(lambda: shows(b"has been added"), 20, "the answer")
    assert child.wait(20) == 0
    os.close(master)
    assert secret.encode() not in screen
    assert verify(secret, stored(service, email))


# ---------- exit codes and messages ----------


def test_exit_codes(run, name, service):
    """1 refused, 2 usage, 3 not found, 4 conflict, 5 not allowed, 6 nobody there; with a remedy."""
    reader = local.add_key(config.dev(service.root), {"name": "r", "scope": "read"})
    run("mailbox", "add", f"ann@{name}", "--generate")
    cases: list[tuple[int, str, Result]] = [
        (1, "quota", run("mailbox", "set", f"ann@{name}", "--quota", "999999")),
        (2, "--help", run("mailbox", "set", f"ann@{name}")),
        (2, "integer", run("mailbox", "set", f"ann@{name}", "--quota", "much")),
        (2, "full address", run("mailbox", "add", "ann", "--generate")),
        (2, "goto", run("alias", "add", f"a@{name}")),
        (2, "MAILAPI_KEY", run("domain", "list", key=None)),
        (2, "MAILAPI_KEY", run("domain", "list", key="kéy")),
        (2, "--url", run("domain", "list", url="ftp://example.com")),
        (3, "domain add", run("mailbox", "add", "ann@none.example", "--generate")),
        (4, "exists", run("domain", "add", name)),
        (4, "--cascade", run("domain", "rm", name)),
        (5, "key", run("domain", "list", key="wrong")),
        (5, "scope write", run("domain", "set", name, "--no-active", key=reader)),
        (6, "start it", run("domain", "list", url="http://127.0.0.1:9")),
    ]
    for code, text, result in cases:
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        assert text in result.stderr
    assert run("domain", "rm", name, "--cascade").exit_code == 0


def test_each_field_at_fault_is_named(run):
    """Where several fields are at fault, each has its line."""
    said = run("domain", "add", "many.example", "--quota", "0", "--mailboxes", "-1").stderr
    assert "quota: " in said
    assert "mailboxes: " in said


def test_stored_but_not_live(tmp_path):
    """What is stored and not live is said to be so, and the exit code is 1."""
    running = Service(tmp_path / "dev", postfix__map_type="texthash", reload__command='["false"]')
    running.start()
    try:
        result = CliRunner().invoke(
            main, ["domain", "add", "late.example", "--url", running.url],
            env={"MAILAPI_KEY": running.key},
        )  # fmt: skip
        assert result.exit_code == 1
        assert "Stored, but not live yet." in result.stderr
        assert [row["domain"] for row in running.state()["domains"]] == ["late.example"]
    finally:
        running.close()


# ---------- ways to the service ----------


def test_without_a_key_over_the_socket(service, run, name, monkeypatch):
    """Without a key the commands of root go over [server] admin_socket, and sign as root."""
    monkeypatch.delenv("MAILAPI_KEY", raising=False)
    monkeypatch.setenv("MAILAPI_SERVER__ADMIN_SOCKET", str(service.admin_socket))
    directory = service.root.parent / "nothing"  # no admin.key there
    argv = ["domain", "set", name, "--no-active", "--dev", str(directory)]
    assert CliRunner().invoke(main, argv).exit_code == 0
    rows = answer(run("changes", "list", "--limit", "1", "-o", "json"))
    assert rows[0]["who"] == "local:root"
    assert CliRunner().invoke(main, ["status", "--dev", str(directory)]).exit_code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to ask as another user")
def test_others_may_not_open_the_socket(service):
    """A user outside the group gets exit code 5 and is told what to do."""
    service.admin_socket.parent.chmod(0o755)
    code = (  # what is imported later could be out of that user's reach
        "import os, encodings.idna, mailapi.app, mailapi.cli, mailapi.client\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "mailapi.cli.main(['status', '--dev', '/nonexistent'])"
    )
    environment = {"MAILAPI_SERVER__ADMIN_SOCKET": str(service.admin_socket)}
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == 5, done.stderr
    assert "as root or as a member of the group mailapi" in done.stderr


def test_dev_uses_its_own_key(service, monkeypatch):
    """`--dev DIR` takes the key of DIR/admin.key."""
    monkeypatch.delenv("MAILAPI_KEY", raising=False)
    port = service.url.split(":")[2].split("/")[0]
    monkeypatch.setenv("MAILAPI_SERVER__PORT", port)
    done = CliRunner().invoke(main, ["domain", "list", "--dev", str(service.root)])
    assert done.exit_code == 0, done.output


def test_redirects_are_not_followed(tmp_path):
    """The key goes to the service that was named and to nobody that it points at."""
    seen: list[str] = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        result = CliRunner().invoke(
            main, ["domain", "list", "--url", url], env={"MAILAPI_KEY": "mapi_x"}
        )
        server.shutdown()
    assert result.exit_code == 6
    assert seen == ["/api/v1/domains"]
