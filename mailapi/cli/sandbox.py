"""`mailapi sandbox`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
def sandbox(directory: Path | None) -> None:
    """Try it with a real Postfix and Dovecot, which leave no trace.

    Starts private copies of the installed servers on free ports of this host alone, with the
    service in front, and prints commands that create a mailbox, send it a mail and read it. Ctrl-C
    ends them all and removes everything. It needs root, for the servers run as several users.

    What is written lies in DIR, which must be new or empty; without it, in a temporary directory.
    """
    from ..sandbox.run import run

    run(directory, lambda text: click.echo(text, nl=False))
    click.echo("The sandbox is gone.", err=True)
