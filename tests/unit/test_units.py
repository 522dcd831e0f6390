"""The systemd units: systemd understands every line, and they leave little exposed."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mailapi import resources

UNITS = ("mailapi.service", "mailapi-sync.service")
UNITS += ("mailapi-reload.service", "mailapi-reload.socket")
ANALYZE = shutil.which("systemd-analyze")

needs_systemd = pytest.mark.skipif(
    ANALYZE is None, reason="needs systemd-analyze: apt-get install systemd"
)


def unit(name: str) -> configparser.ConfigParser:
    """Keys may stand several times in a unit; the last counts here."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys as they are
    parser.read(resources.path("systemd", name))
    return parser


def analyze(*words: str) -> tuple[int, str]:
    """Without colours, and without asking the system's own systemd."""
    done = subprocess.run(
        [ANALYZE or "", *words],
        env={"PATH": os.environ["PATH"], "SYSTEMD_COLORS": "0", "SYSTEMD_LOG_TARGET": "console"},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """All units, with programs that exist on this machine too."""
    for name in UNITS:
        text = resources.path("systemd", name).read_text()
        (tmp_path / name).write_text(
            re.sub("^ExecStart=.*", "ExecStart=/bin/true", text, flags=re.M)
        )
    return tmp_path


def verify(directory: Path) -> str:
    """What systemd-analyze says about our units; others of this machine may be at fault too."""
    _, said = analyze("verify", "--man=no", *(str(directory / name) for name in UNITS))
    return "\n".join(line for line in said.splitlines() if "mailapi" in line)


@needs_systemd
def test_systemd_has_nothing_to_say(units: Path) -> None:
    """The output of verify is empty; its exit status tells less."""
    assert verify(units) == ""


@needs_systemd
def test_an_unknown_key_would_be_said(units: Path) -> None:
    """What the other test relies on: a misspelt key is named in the output."""
    file = units / "mailapi.service"
    file.write_text(file.read_text().replace("WatchdogSec=", "WatchDogSecs="))
    assert "WatchDogSecs" in verify(units)


@needs_systemd
@pytest.mark.parametrize(
    ("name", "most"),
    [("mailapi.service", "15"), ("mailapi-sync.service", "15"), ("mailapi-reload.service", "25")],
)
def test_exposure(name: str, most: str) -> None:
    """The service is at 1.5 at most, and the program that is root at 2.5."""
    if "--offline" not in analyze("--help")[1]:
        pytest.skip("needs the systemd-analyze of systemd 250, with --offline")
    path = str(resources.path("systemd", name))
    status, said = analyze("security", "--offline=true", f"--threshold={most}", "--no-pager", path)
    assert status == 0, said.splitlines()[-1]


def test_a_burst_stops_nothing_for_good() -> None:
    """No limit of starts takes a service or the socket down."""
    assert unit("mailapi.service")["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit("mailapi-reload.service")["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit("mailapi-reload.socket")["Socket"]["TriggerLimitIntervalSec"] == "0"


def test_who_may_ask_for_a_reload() -> None:
    """Root, and the group of the service."""
    socket, service = unit("mailapi-reload.socket")["Socket"], unit("mailapi.service")["Service"]
    assert (socket["SocketUser"], socket["SocketMode"]) == ("root", "0660")
    assert socket["SocketGroup"] == service["Group"]
    assert socket["Accept"] == "no"


def test_what_no_restart_mends() -> None:
    """After exit status 75 and 78 the service stays down."""
    service = unit("mailapi.service")["Service"]
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"].split() == ["75", "78"]


def test_the_configuration_names_the_socket() -> None:
    """config.example.toml and the unit have the same path."""
    path = unit("mailapi-reload.socket")["Socket"]["ListenStream"]
    assert f'"{path}"' in resources.path("config.example.toml").read_text()


def test_the_program_that_is_root_keeps_its_capabilities() -> None:
    """User=root beside SystemCallFilter= would cost it CAP_SETUID under systemd 257."""
    service = unit("mailapi-reload.service")["Service"]
    assert "User" not in service
    assert service["CapabilityBoundingSet"].split() == ["CAP_KILL", "CAP_SETUID", "CAP_SETGID"]
