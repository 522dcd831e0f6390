"""Options that commands share: which configuration or service, and how to print."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

if TYPE_CHECKING:
    from ..client import Service
    from ..config import Config

F = TypeVar("F", bound=Callable[..., Any])

DEV: Final = "var"
WIDEST: Final = 60  # characters of a cell in a list


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


def service_options(command: F) -> F:
    """`--url URL`, `--config FILE` or `--dev [DIR]`: the command is given `service`."""

    @functools.wraps(command)
    def found(*, path: Path | None, dev: str | None, url: str | None, **given: Any) -> Any:
        return command(service=_service(path, dev, url), **given)

    option = click.option("--url", help="The service elsewhere; its API key is in MAILAPI_KEY.")
    return cast(F, config_options(option(found)))


def _service(path: Path | None, dev: str | None, url: str | None) -> Service:
    """Where the service is and with which key. Raise `UsageError`, `ConfigError`."""
    from .. import client

    key = os.environ.get("MAILAPI_KEY", "").strip() or None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise click.UsageError("What MAILAPI_KEY holds is no API key.")
    if url is not None:
        if path is not None or dev is not None or key is None:
            raise click.UsageError("--url needs an API key in MAILAPI_KEY, and stands alone.")
        try:
            return client.remote(url, key)
        except ValueError as error:
            raise click.UsageError(f"--url {error}.") from None
    config = load(path, dev)
    key = key or _dev_key(dev)
    if key is None and config.server.admin_socket is None:
        raise click.UsageError(
            "Put an API key into the environment variable MAILAPI_KEY, or set [server] "
            "admin_socket, where root and the group mailapi need none."
        )
    return client.of(config, key)


def _dev_key(dev: str | None) -> str | None:
    """What `serve --dev` wrote for its user."""
    if dev is None:
        return None
    try:
        return (Path(dev) / "admin.key").read_text(encoding="ascii").strip()
    except OSError:
        return None


def show(
    rows: Iterable[Mapping[str, Any]], output: str, columns: Sequence[str] | None = None
) -> None:
    """Print objects as a table, of these columns if they are named; or all of it as JSON."""
    found = [dict(row) for row in rows]
    if output == "json":
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif found:
        names = columns or list(found[0])
        _table([[_short(_cell(row.get(name))) for name in names] for row in found], names)


def show_one(row: Mapping[str, Any], output: str) -> None:
    """Print one object, a line a field, or as JSON."""
    if output == "json":
        click.echo(json.dumps(row, indent=2, ensure_ascii=False))
    else:
        _table([[name, _cell(value)] for name, value in row.items()])


def _table(rows: list[list[str]], headers: Sequence[str] = ()) -> None:
    from tabulate import tabulate

    click.echo(tabulate(rows, headers=headers, tablefmt="plain", disable_numparse=True))


def _short(text: str) -> str:
    """One line of a table; `show` and JSON have all of it."""
    line = " ".join(text.split())
    return line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
