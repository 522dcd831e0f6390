"""What `mailapi init` finds on a host, and what it says is in the way."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from fakehost import FOUND, FakeHost, has_useradd

from mailapi.errors import InitFailed
from mailapi.setup import conflicts, found, plan
from mailapi.setup.host import Image
from mailapi.setup.steps import Directory

MASTER = """\
smtp      inet  n       -       y       -       -       smtpd
  -o one=1
# a comment
  -o two=2
465 inet n - y - - smtpd
"""


def test_a_service_that_cannot_be_started():
    """A virtual environment below /tmp, /home or /root is refused, for the unit hides these."""
    for prefix in ("/root/venv", "/home/ann/venv", "/tmp/venv", "/nonexistent"):
        with pytest.raises(InitFailed, match="/opt/mailapi/venv"):
            found.program(Path(prefix))


def test_others_must_be_able_to_run_it(tmp_path):
    """One closed directory on the way is enough to keep the service's user out."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    program = inner / "mailapi"
    shutil.copy(sys.executable, program)
    for directory in (*program.parents, program):
        if directory.is_relative_to(tmp_path.parent):
            directory.chmod(0o755)
    opened = found._open(program)
    (tmp_path / "a").chmod(0o750)
    assert (opened, found._open(program)) == (found._open(tmp_path.parent), False)


def test_services_of_master_cf():
    """Lines that go on belong to a service; comments and the options' order do not count."""
    services = conflicts._services(MASTER)
    assert services["smtp/inet"][:2] == ("smtp", "inet")
    assert services["smtp/inet"][8:] == ("-o", "-o", "one=1", "two=2")
    assert "465/inet" in services
    other = MASTER.replace("one=1", "x").replace("two=2", "one=1").replace("x", "two=2")
    assert conflicts._services(other) == services


@pytest.mark.parametrize("said", [
    "passdb {\n  args = x\n  driver = ldap\n}\nuserdb {\n  driver = passwd\n}\n",
    "passdb ldap {\n  a {\n  }\n}\n",
])  # fmt: skip
def test_passdbs(said):
    """In the words of Dovecot 2.3 and of 2.4."""
    kinds = [(kind, "ldap" in name + block) for kind, name, block in conflicts.PASSDB.findall(said)]
    assert kinds[0] == ("passdb", True)


def test_mail_of_local_accounts(tmp_path):
    """Whose mailbox is not empty is named; system accounts and empty files are not."""
    host = FakeHost(tmp_path)
    assert conflicts._with_mail(host) == []
    spool = tmp_path / "var/mail"
    spool.mkdir(parents=True)
    (spool / "ann").touch()
    (spool / "root").write_text("x")
    assert conflicts._with_mail(host) == []


@pytest.mark.skipif(not has_useradd(), reason="needs root, and useradd(8)")
def test_data_of_somebody_else(tmp_path):
    """A directory of another user is in the way, one that `--undo` left to root is not."""
    host = FakeHost(tmp_path).furnish()
    planned = plan.make(host, FOUND, {})
    host.make_directory(Path("/var/vmail"), 0o700, 0, 0)
    assert conflicts._directories(host, planned) == []
    host.own(Path("/var/vmail"), 0o700, 5000, 5000)
    assert ["/var/vmail" in line for line in conflicts._directories(host, planned)] == [True]


def test_a_directory_that_is_there(tmp_path):
    """Those for files stay as the administrator has them."""
    host = FakeHost(tmp_path)
    (tmp_path / "etc").mkdir(mode=0o711)
    assert Directory(Path("/etc")).pending(host) == ""
    assert Directory(Path("/srv")).pending(host) == "make the directory /srv (root:root 0755)"
    assert host.image(Path("/srv")) == Image("absent")
