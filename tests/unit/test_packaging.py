"""What is built from this tree, and that it works where nothing else of the tree is."""

from __future__ import annotations

import email
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bed import poll

import mailapi

Run = Callable[..., str]
ROOT = Path(__file__).parents[2]
IN_PACKAGE = ("templates", "systemd", "config.example.toml")  # beside it in a checkout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the source archive."""
    out = tmp_path_factory.mktemp("built")
    build(ROOT, out)
    return out


def build(root: Path, out: Path, *options: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out), *options]
    subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def source(built: Path) -> Path:
    (found,) = built.glob("*.tar.gz")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new venv with the wheel; what the wheel needs comes from this one, so no network does."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    command = [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    def running(*argv: str, **environment: str) -> str:
        return subprocess.run(
            argv, cwd=tmp_path, env=clean(installed) | environment, text=True, check=True,
            capture_output=True, timeout=60,
        ).stdout  # fmt: skip

    return running


def clean(installed: Path) -> dict[str, str]:
    """An environment in which nothing leads to the source tree."""
    return {"PATH": f"{installed / 'bin'}:{os.environ['PATH']}", "HOME": "/nonexistent"}


def tree(*roots: str) -> set[str]:
    """The files of the source tree that belong into what is built."""
    files = set()
    for root in roots:
        path = ROOT / root
        found = [path] if path.is_file() else path.rglob("*")
        files |= {f.relative_to(ROOT).as_posix() for f in found if f.is_file()}
    return {name for name in files if "__pycache__" not in name}


def test_the_wheel_holds_what_the_service_needs(wheel):
    """Code, templates, units, example, types and manual page, and no test."""
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = tree("mailapi") | {f"mailapi/{name}" for name in tree(*IN_PACKAGE)}
    assert {"mailapi/py.typed", "mailapi/templates/config/postfix.j2"} <= expected
    assert {name for name in names if name.startswith("mailapi/")} == expected
    others = {name.partition("/")[2] for name in names if not name.startswith("mailapi/")}
    assert "data/share/man/man1/mailapi.1" in others
    assert others - {"data/share/man/man1/mailapi.1"} == {
        "METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"
    }  # fmt: skip


def test_the_source_archive_builds_the_same_wheel(wheel, source, tmp_path):
    """It holds all that a build, the tests and `make` need, and gives the same wheel."""
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    names = {file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()}
    assert names >= tree("mailapi", "tests", *IN_PACKAGE, "README.md", "LICENSE", "Makefile",
                         "pyproject.toml", ".ci")  # fmt: skip
    assert (root / "man" / "mailapi.1").read_text().startswith(".TH MAILAPI 1")
    build(root, tmp_path / "again", "-t", "wheel")
    (again,) = (tmp_path / "again").iterdir()
    assert content(again) == content(wheel)


def content(wheel: Path) -> dict[str, int]:
    return {item.filename: item.CRC for item in zipfile.ZipFile(wheel).infolist()}


def test_one_version(wheel, source, run):
    """The version stands in mailapi/__init__.py, and everything else says the same."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Version"] == mailapi.__version__
    assert wheel.name.split("-")[1] == mailapi.__version__
    assert source.name == f"mailapi-{mailapi.__version__}.tar.gz"
    assert mailapi.__version__ in run("mailapi", "--version")
    assert f'"mailapi {mailapi.__version__}"' in run("mailapi", "man").splitlines()[0]


def test_it_runs_from_its_own_files(run, installed):
    """The commands of the installed wheel use what is in it, and nothing of the source tree."""
    code = "import mailapi.resources as r; print(r.path('templates'), r.path('systemd'))"
    for path in run("python", "-c", code).split():
        assert path.startswith(str(installed))
    assert "[server]" in run("mailapi", "config", "example")
    script = "from mailapi import config, serverconfig; from pathlib import Path; " \
             "print(serverconfig.dovecot(config.dev(Path('x')), '2.4.1', Path('/q')))"  # fmt: skip
    assert "passdb" in run("python", "-c", script)


def test_it_serves(installed, tmp_path):
    """`mailapi serve --dev` of the installed wheel answers, and ends at SIGTERM."""
    log = tmp_path / "log"
    with log.open("w") as stream:
        service = subprocess.Popen(
            [installed / "bin" / "mailapi", "serve", "--dev", "dev"], cwd=tmp_path, stderr=stream,
            stdout=subprocess.DEVNULL,
            env=clean(installed) | {"MAILAPI_SERVER__PORT": "0", "MAILAPI_LOG__FORMAT": "json"},
        )  # fmt: skip
    try:
        where = poll(lambda: serving(log, service), 30, f"it serves; see {log}")
        with urllib.request.urlopen(f"{where}/healthz", timeout=10) as answer:
            assert answer.status == 200
        assert (tmp_path / "dev" / "dovecot" / "users").exists()
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(30) == 0


def serving(log: Path, service: subprocess.Popen[bytes]) -> str | None:
    assert service.poll() is None, log.read_text()
    found = [line for line in log.read_text().splitlines() if '"event": "serving"' in line]
    return found[0].partition('"where": "')[2].partition('"')[0] if found else None


def test_the_manual_page_is_found(installed, run):
    """It is where man(1) looks for the page of a command that is in PATH."""
    page = installed / "share" / "man" / "man1" / "mailapi.1"
    assert page.read_text().startswith(".TH MAILAPI 1")
    if shutil.which("man"):
        assert run("man", "-w", "mailapi") == f"{page}\n"


@pytest.mark.parametrize(
    ("shell", "words", "expected"),
    [
        ("bash", "mailapi mail", "mailbox"),
        ("bash", "mailapi mailbox set a@b.c --qu", "--quota"),
        ("zsh", "mailapi alias s", "show"),
        ("fish", "mailapi config post", "postfix"),
    ],
)
def test_shell_completion(run, shell, words, expected):
    """The shells complete commands and options, with what the README tells to put into them."""
    assert "_MAILAPI_COMPLETE" in run("mailapi", _MAILAPI_COMPLETE=f"{shell}_source")
    *_, last = words.split(" ")
    place = last if shell == "fish" else str(words.count(" "))
    said = run("mailapi", _MAILAPI_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=place)
    assert expected in said
