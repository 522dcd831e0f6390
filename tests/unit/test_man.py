"""The manual page is the commands' own help."""

from __future__ import annotations

import re
import shutil
import subprocess

import click
import pytest

from mailapi.cli import main
from mailapi.cli.man import page


def leaves(command: click.Command, *path: str) -> dict[tuple[str, ...], click.Command]:
    if not isinstance(command, click.Group):
        return {path: command}
    found = {}
    for name, below in command.commands.items():
        found |= leaves(below, *path, name)
    return found


def plain(text: str) -> str:
    """Without the escapes of troff, and any white space a blank."""
    for escaped, sign in ((r"\-", "-"), (r"\(aq", "'"), (r"\(dq", '"'), (r"\&", ""), (r"\e", "\\")):
        text = text.replace(escaped, sign)
    return " ".join(text.split())


@pytest.mark.parametrize("path", leaves(main), ids=" ".join)
def test_each_command_is_there(path):
    """Each command has its section, with its help and each of its options."""
    command, text = leaves(main)[path], page(main)
    name = " ".join(path).replace("-", r"\-")
    section = text.partition(f'.SS "mailapi {name}"\n')[2].partition("\n.S")[0]
    for part in (command.help or "").replace("\b", "").split("\n\n"):
        assert plain(part) in plain(section)
    options = text.partition(".SH OPTIONS")[2].partition(".SH COMMANDS")[0] + section
    for param in command.params:
        if isinstance(param, click.Option):
            assert all(option in plain(options) for option in param.opts), param.opts


def test_exit_codes():
    """The exit codes stand in it."""
    assert plain(main.epilog) in plain(page(main))


def test_what_troff_could_take_for_its_own():
    """A help text can neither become a request nor an escape; \\b keeps its lines."""
    odd = click.Command("odd", help=".so /etc/passwd\n\n'x \\n(.s\n\n\b\n.a\n  b-c")
    lines = page(click.Group("odd", commands=[odd], help="odd")).splitlines()
    assert r"\&.so /etc/passwd" in lines
    assert r"\(aqx \en(.s" in lines
    at = lines.index(".nf")
    assert lines[at : at + 4] == [".nf", r"\&.a", r"  b\-c", ".fi"]


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff: apt-get install groff-base")
def test_troff_has_no_complaint():
    """groff formats it without a warning."""
    command = ["groff", "-ww", "-man", "-Tutf8", "-P-c"]
    done = subprocess.run(command, input=page(main), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "EXIT" in re.sub(".\b", "", done.stdout)
