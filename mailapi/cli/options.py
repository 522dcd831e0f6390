"""Options that commands share: which configuration, and how to print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ..config import Config

F = TypeVar("F", bound=Callable[..., Any])

DEV = "var"


def config_options(command: F) -> F:
    """`--config FILE` or `--dev [DIR]`."""
    dev = click.option(
        "--dev",
        is_flag=False,
        flag_value=DEV,
        metavar="[DIR]",
        help=f"No configuration, no root: everything under DIR (default ./{DEV}).",
    )
    path = click.option(
        "--config",
        "path",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The configuration (default /etc/mailapi/config.toml).",
    )
    return path(dev(command))


def output_option(command: F) -> F:
    """`-o table|json`."""
    return click.option(
        "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
    )(command)


def load(path: Path | None, dev: str | None) -> Config:
    """The configuration that the options name. Raise `ConfigError`."""
    from .. import config

    if dev is not None and path is not None:
        raise click.UsageError("--config and --dev exclude each other.")
    return config.load(path) if dev is None else config.dev(Path(dev))


def api_key(dev: str | None) -> str:
    """MAILAPI_KEY, or what `serve --dev` wrote. Raise `UsageError`."""
    import os

    file = Path(dev or DEV) / "admin.key"
    if key := os.environ.get("MAILAPI_KEY"):
        return key.strip()
    if dev is not None and file.is_file():
        return file.read_text(encoding="ascii").strip()
    raise click.UsageError("Put an API key into the environment variable MAILAPI_KEY.")


def show(rows: Iterable[Mapping[str, Any]], output: str) -> None:
    """Print objects as a table, or as JSON."""
    from tabulate import tabulate

    found = [dict(row) for row in rows]
    if output == "json":
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif found:
        text = [{name: _cell(value) for name, value in row.items()} for row in found]
        click.echo(tabulate(text, headers="keys", tablefmt="plain", disable_numparse=True))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
