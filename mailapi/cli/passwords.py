"""A new password: from a prompt, from standard input, or generated; never from argv."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS: Final = ("password_prompt", "password_stdin", "generate")
# No signs that look like one another; 20 of them are 99 bits.
LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
GROUPS: Final = (5, 5, 5, 5)


def password_options(command: F, new: bool = True) -> F:
    """`--password-prompt`, `--password-stdin` and, for a new one, `--generate`, for `ask`."""
    for name, text in (
        ("--generate", "Make a password and print it, this once."),
        ("--password-stdin", "Read the password from standard input."),
        ("--password-prompt", "Ask for the password on the terminal."),
    ):
        if new or name != "--generate":
            command = click.option(name, is_flag=True, help=text)(command)
    return command


def ask(
    required: bool,
    *,
    password_prompt: bool,
    password_stdin: bool,
    generate: bool,
    confirm: bool = True,
) -> str | None:
    """The password, or None if none is asked for. Raise `UsageError`."""
    if password_prompt + password_stdin + generate > 1:
        raise click.UsageError(
            "--password-prompt, --password-stdin and --generate exclude each other."
        )
    if generate:
        return generated()
    if password_stdin:
        return _read()
    return _prompt(confirm) if password_prompt or required else None


def generated() -> str:
    """Groups of random letters and digits, with dashes between them."""
    return "-".join("".join(secrets.choice(LETTERS) for _ in range(n)) for n in GROUPS)


def _read() -> str:
    """All of standard input but a newline at its end."""
    try:
        text = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError:
        raise click.UsageError("The password on standard input is not UTF-8.") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise click.UsageError("There is no password on standard input.")
    return text


def _prompt(confirm: bool) -> str:
    if not sys.stdin.isatty():
        raise click.UsageError(
            "There is no terminal to ask for the password; use --password-stdin or --generate."
        )
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True))
