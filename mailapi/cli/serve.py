"""`mailapi serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options

if TYPE_CHECKING:
    from ..config import Config


@click.command()
@options.config_options
@click.option("--force", is_flag=True, help="Publish even if a map would lose most of its entries.")
def serve(path: Path | None, dev: str | None, force: bool) -> None:
    """Serve the API until SIGTERM or SIGINT."""
    from .. import app, log, loop

    config = options.load(path, dev)
    log.setup(config.log.level, config.log.format)
    if dev is not None:
        _first_key(config, Path(dev))
    loop.run(app.serve(config, force))


def _first_key(config: Config, directory: Path) -> None:
    """`--dev`: make an admin key, print it, and keep it in DIR/admin.key; unless it is there."""
    import os

    from .. import local

    file = directory / "admin.key"
    if file.exists() and local.keys(config):
        return
    key = local.add_key(config, {"name": "admin", "scope": "admin"})
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as stream:
        os.fchmod(fd, 0o600)  # one that was there may have been open to others
        stream.write(f"{key}\n")
    click.echo(f"The admin key, also in {file}: {key}")
