"""`mailapi backup` and `restore`."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from . import options

SOON: Final = 1.0  # seconds; what takes longer shows how far it is
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@options.config_options
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.argument("file", type=FILE)
def backup(path: Path | None, dev: str | None, force: bool, file: Path) -> None:
    """Write the whole state to FILE, at any time; it holds password hashes."""
    from .. import backup as ours

    config = options.load(path, dev)
    with _progress("Copying") as progress:
        generation = ours.backup(config, file, progress, force=force)
    click.echo(f"{file} holds the state of generation {generation}.")


@click.command()
@options.config_options
@click.option("--force", is_flag=True, help="Replace a state that holds anything; it is kept.")
@click.argument("file", type=FILE)
def restore(path: Path | None, dev: str | None, force: bool, file: Path) -> None:
    """Make the backup FILE the state; the service must not run."""
    from .. import restore as ours

    config = options.load(path, dev)
    with _progress("Copying") as progress:
        kept = ours.restore(config, file, progress, force=force)
    click.echo("The backup is restored; start the service, and Postfix and Dovecot follow it.")
    if kept is not None:
        click.echo(f"What was there is {kept}.")
    click.echo("API keys are those of the backup: see mailapi key list.")


@contextlib.contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """What the work calls with how much is done of how much; a bar, if it takes long."""
    begin = time.monotonic()
    bar: list[Any] = []
    with contextlib.ExitStack() as stack:

        def advance(done: int, total: int) -> None:
            if not bar and time.monotonic() - begin >= SOON:
                shown = click.progressbar(length=total, label=label, file=sys.stderr)
                bar.append(stack.enter_context(shown))
            for one in bar:
                one.update(done - one.pos)

        yield advance
