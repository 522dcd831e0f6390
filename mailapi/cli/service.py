"""`mailapi status`, `apply` and `render`."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command()
@options.config_options
@options.output_option
def status(path: Path | None, dev: str | None, output: str) -> None:
    """Whether what the service knows is live; exit code 1 if it is not."""
    from .. import client

    found = client.request(options.load(path, dev), "GET", "/status", options.api_key(dev))
    problem = found.pop("problem", None)
    options.show([found | ({"problem": problem["msg"]} if problem else {})], output)
    if not found["applied"]:
        click.get_current_context().exit(1)


@click.command()
@options.config_options
def apply(path: Path | None, dev: str | None) -> None:
    """Render, publish and reload everything again."""
    from .. import client

    found = client.request(options.load(path, dev), "POST", "/apply", options.api_key(dev), {})
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
