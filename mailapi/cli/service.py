"""`mailapi status`, `apply` and `render`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options

if TYPE_CHECKING:
    from ..client import Service


@click.command()
@options.service_options
@options.output_option
def status(service: Service, output: str) -> None:
    """Whether what the service knows is live; exit code 1 if it is not."""
    from .. import client

    found = client.request(service, "GET", "/status")
    problem = found.pop("problem", None)
    options.show([found | ({"problem": problem["msg"]} if problem else {})], output)
    if not found["applied"]:
        click.get_current_context().exit(1)


@click.command()
@options.service_options
def apply(service: Service) -> None:
    """Render, publish and reload everything again."""
    from .. import client

    found = client.request(service, "POST", "/apply", {})
    click.echo(f"{found['msg']} (generation {found['generation']}).")
    if not found["applied"]:
        click.echo(f"mailapi: {found.get('detail', '')}", err=True)
        click.get_current_context().exit(1)


@click.command()
@options.config_options
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
def render(path: Path | None, dev: str | None, directory: Path) -> None:
    """Write all files to DIRECTORY, and touch nothing else."""
    from .. import local

    config = options.load(path, dev)
    for name, data in local.rendered(config).items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_bytes(data)
        click.echo(file)
