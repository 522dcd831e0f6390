"""`mailapi man`: the manual page, made of what the commands say of themselves with --help.

`page` is roff for man(7). The options that most commands share stand once, in a section of their
own; each command then has its own. There is no other text of a command anywhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Final

import click

from .. import __version__

SHARED: Final = ("path", "dev", "url", "output")
ENVIRONMENT: Final = (
    ("MAILAPI_KEY", "The API key for the commands that ask the running service."),
    ("MAILAPI_SECTION__KEY", "A key of the configuration; MAILAPI_SERVER__PORT is [server] port."),
    ("_MAILAPI_COMPLETE", "bash_source, zsh_source or fish_source: print the shell's completion."),
)
FILES: Final = (
    ("/etc/mailapi/config.toml", "The configuration; mailapi config example explains each key."),
)


@click.command()
@click.pass_context
def man(ctx: click.Context) -> None:
    """Print this manual page: mailapi man | man -l -"""
    click.echo(page(ctx.find_root().command), nl=False)


def page(main: click.Command) -> str:
    """The manual page of a command and all below it."""
    ctx = click.Context(main, info_name="mailapi")
    summary, _, description = (main.help or "").partition("\n")
    lines = [
        f'.TH MAILAPI 1 "" "mailapi {__version__}" "User Commands"',
        ".SH NAME",
        rf"mailapi \- {_roff(summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        _usage(ctx),
        ".SH DESCRIPTION",
        *_paragraphs(description)[1:],
        ".SH OPTIONS",
        r"Most commands take these; \fB\-\-help\fR behind a command tells which it takes.",
        *_shared(ctx),
        ".SH COMMANDS",
        *(line for leaf in _leaves(ctx) for line in _command(leaf)),
        *_items("ENVIRONMENT", ENVIRONMENT),
        *_items("FILES", FILES),
        ".SH EXIT STATUS",
        _roff(_sentence(main.epilog)),
        ".SH SEE ALSO",
        ".BR postfix (1),",
        ".BR dovecot (1)",
    ]
    return "\n".join(lines) + "\n"


def _leaves(ctx: click.Context) -> Iterator[click.Context]:
    """The commands that have none below them, in the order of the alphabet."""
    if not isinstance(ctx.command, click.Group):
        yield ctx
        return
    for name in ctx.command.list_commands(ctx):
        command = ctx.command.get_command(ctx, name)
        if command is not None and not command.hidden:
            yield from _leaves(click.Context(command, info_name=name, parent=ctx))


def _command(ctx: click.Context) -> list[str]:
    lines = [f'.SS "{_roff(ctx.command_path)}"', _usage(ctx), *_paragraphs(ctx.command.help)]
    for param in ctx.command.params:
        if isinstance(param, click.Option) and param.name not in SHARED:
            lines += _option(ctx, param)
    return lines


def _shared(ctx: click.Context) -> list[str]:
    """Each option that many commands have, from the first command that has it."""
    found: dict[str, list[str]] = {}
    for leaf in _leaves(ctx):
        for param in leaf.command.params:
            if param.name in SHARED and param.name not in found:
                found[param.name] = _option(leaf, param)
    return [line for name in SHARED for line in found.get(name, [])]


def _option(ctx: click.Context, param: click.Parameter) -> list[str]:
    record = param.get_help_record(ctx)
    return [".TP", rf"\fB{_roff(record[0])}\fR", _roff(_sentence(record[1]))] if record else []


def _usage(ctx: click.Context) -> str:
    pieces = " ".join(ctx.command.collect_usage_pieces(ctx))
    return rf"\fB{_roff(ctx.command_path)}\fR {_roff(pieces)}"


def _items(title: str, items: tuple[tuple[str, str], ...]) -> list[str]:
    lines = [f".SH {title}"]
    for name, text in items:
        lines += [".TP", rf"\fB{_roff(name)}\fR", _roff(text)]
    return lines


def _paragraphs(text: str | None) -> list[str]:
    """As click has them: a blank line between two, and those that begin with \\b as they stand."""
    lines = []
    for part in inspect.cleandoc(text or "").split("\n\n"):
        lines.append(".PP")
        if part.startswith("\b"):
            lines += [".nf", *map(_roff, part.removeprefix("\b").strip("\n").split("\n")), ".fi"]
        else:
            lines.append(_roff(_sentence(part)))
    return lines


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def _roff(text: str) -> str:
    """Text that troff prints as it is: no escapes, no requests, minus signs for options."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq").replace("'", r"\(aq")
    return rf"\&{text}" if text.startswith(".") else text
