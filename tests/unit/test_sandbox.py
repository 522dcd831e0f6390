"""`mailapi sandbox` where it cannot start: it says why, and leaves nothing behind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from mailapi.cli import main
from mailapi.errors import SandboxFailed
from mailapi.sandbox import installed, layout
from mailapi.sandbox.place import Place

ALL = "postfix dovecot-core openssl postfix-lmdb dovecot-imapd dovecot-lmtpd"


@pytest.fixture
def root(monkeypatch):
    """We are root, as far as is asked."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def host(tmp_path, monkeypatch, root):
    """A host of which `install(package, ...)` says what is installed."""
    monkeypatch.setattr(installed, "LIBEXEC", tmp_path)
    monkeypatch.setattr(installed, "environment", lambda: {"PATH": str(tmp_path)})

    def install(*packages):
        says = {"postconf": f"echo hash {'lmdb' * ('postfix-lmdb' in packages)}"}
        for name, package in (installed.PROGRAMS | installed.PROTOCOLS).items():
            if package in packages:
                (tmp_path / name).write_text(f"#!/bin/sh\n{says.get(name, ':')}\n")
                (tmp_path / name).chmod(0o755)

    return install


@pytest.fixture
def short():
    """A directory with a short name, that anybody may enter."""
    with tempfile.TemporaryDirectory(prefix="sb-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("absent", ALL.split())
def test_a_missing_package(host, absent):
    """Each package that is missing is named, as apt-get takes it."""
    host(*(package for package in ALL.split() if package != absent))
    packages = (installed.missing() or "").rpartition("apt-get install ")[2].split()
    assert packages == (["postfix", "postfix-lmdb"] if absent == "postfix" else [absent])


def test_all_packages(host):
    """On a bare host all of them are named at once; on a full one there is nothing to say."""
    assert installed.missing() == f"Install what is missing: apt-get install {ALL}"
    host(*ALL.split())
    assert installed.missing() is None


def test_the_command_without_packages(host, short):
    """The command says what is missing and how to get it, exits with 1 and makes no directory."""
    done = CliRunner().invoke(main, ["sandbox", str(short / "new")])
    assert done.exit_code == 1
    assert done.stderr == f"mailapi: Install what is missing: apt-get install {ALL}\n"
    assert not list(short.iterdir())


def test_the_command_without_root(monkeypatch, short):
    """Without root it says so, names what works without, exits with 1 and makes no directory."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = CliRunner().invoke(main, ["sandbox", str(short / "new")])
    assert done.exit_code == 1
    assert "Only root" in done.stderr
    assert "sudo" in done.stderr
    assert "mailapi serve --dev" in done.stderr
    assert not list(short.iterdir())


def test_sbin_is_searched(monkeypatch):
    """The servers' programs are found although PATH, as su(1) leaves it, lacks sbin."""
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("MAILAPI_KEY", "x")
    monkeypatch.setenv("MAIL_CONFIG", "/x")
    given = installed.environment()
    assert given["PATH"].split(":") == ["/usr/bin", "/usr/sbin", "/sbin"]
    assert not {"MAILAPI_KEY", "MAIL_CONFIG"} & given.keys()


def test_an_unknown_version(host, monkeypatch):
    """Programs that do not tell their version are a failure, not a guess."""
    host(*ALL.split())
    with pytest.raises(SandboxFailed, match="versions"):
        installed.versions()


def test_a_new_directory(short):
    """A directory that was made for a sandbox goes with it."""
    place = Place(short / "new")
    (place.root / "mail").mkdir()
    place.remove()
    assert not list(short.iterdir())


def test_a_temporary_directory(short, monkeypatch):
    """Without a name it is a new directory below TMPDIR, and goes."""
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    place = Place(None)
    assert [place.root] == list(short.iterdir())
    place.remove()
    assert not list(short.iterdir())


def test_what_others_put_into_it(short):
    """Files of others in it stay, and then the directory stays, too."""
    place = Place(short / "new")
    (place.root / "notes").touch()
    (place.root / "mail").mkdir()
    place.remove()
    assert [path.name for path in place.root.iterdir()] == ["notes"]


def test_a_link_in_it(short):
    """A link under the name of something of ours goes, and not what it leads to."""
    (short / "precious").mkdir()
    place = Place(short / "new")
    (place.root / "mail").symlink_to(short / "precious")
    place.remove()
    assert [path.name for path in short.iterdir()] == ["precious"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a b", "ASCII letters"),
        ("x" * 80, "at most"),
        ("none/new", "cannot be made"),
        ("file", "must be a directory"),
        ("full", "not empty"),
        ("closed/new", "closed to others"),
    ],
)
def test_a_directory_that_is_refused(short, name, why):
    """A DIR that would not work, or holds something, is refused; nothing in it changes."""
    (short / "file").touch()
    (short / "full").mkdir()
    (short / "full" / "mail").touch()
    (short / "closed").mkdir(0o700)
    before = sorted(short.rglob("*"))
    with pytest.raises(SandboxFailed, match=why):
        Place(short / name)
    assert sorted(short.rglob("*")) == before


def test_two_in_one_directory(short):
    """A second sandbox in the directory of one that runs is refused, and spoils nothing."""
    place = Place(short / "new")
    (place.root / "mail").mkdir()
    with pytest.raises(SandboxFailed, match="Another sandbox"):
        Place(short / "new")
    assert (place.root / "mail").exists()
    place.remove()
    assert not place.root.exists()


def test_all_paths_lie_in_it():
    """Whatever the service of a sandbox reads or writes, it is in its directory."""
    root = Path("/somewhere/else")
    config = layout.private_config(root, "mx.sandbox.test", 8080)
    paths = {
        f"{name}.{key}": value for name, section in config for key, value in section
        if isinstance(value, Path) or "/" in str(value)
    }  # fmt: skip
    assert {name for name, value in paths.items() if str(root) not in str(value)} == set()
