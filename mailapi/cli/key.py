"""`mailapi key`: API keys, straight in the database of this host."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.group()
def key() -> None:
    """API keys, in the database of this host; needs its user's rights or root."""


@key.command("list")
@options.config_options
@options.output_option
def list_(path: Path | None, dev: str | None, output: str) -> None:
    """All keys, never the keys themselves."""
    from .. import local

    options.show(local.keys(options.load(path, dev)), output)


@key.command()
@options.config_options
@options.output_option
@click.argument("id_", metavar="ID", type=int)
def show(path: Path | None, dev: str | None, output: str, id_: int) -> None:
    """One key's name, scope and limits."""
    from .. import local
    from ..errors import NotFound

    found = [row for row in local.keys(options.load(path, dev)) if row["id"] == id_]
    if not found:
        raise NotFound("There is no such key; see mailapi key list.")
    options.show(found, output)


@key.command()
@options.config_options
@click.argument("name")
@click.option(
    "--scope", type=click.Choice(["admin", "write", "read"]), default="admin", show_default=True
)
@click.option("--domain", "domains", multiple=True, help="Limit the key to this domain.")
@click.option("--allow-from", multiple=True, help="Limit it to this address or network.")
@click.option("--expires", help="A time such as 2030-01-31T00:00:00Z.")
def add(
    path: Path | None,
    dev: str | None,
    name: str,
    scope: str,
    domains: tuple[str, ...],
    allow_from: tuple[str, ...],
    expires: str | None,
) -> None:
    """Make a key and print it, this once."""
    from .. import local

    fields = {
        "name": name,
        "scope": scope,
        "domains": list(domains),
        "allow_from": list(allow_from),
        "expires": expires,
    }
    click.echo(local.add_key(options.load(path, dev), fields))


@key.command("rotate-secrets")
@options.config_options
def rotate_secrets(path: Path | None, dev: str | None) -> None:
    """Encrypt the passwords of sync jobs with a new key; the service may run meanwhile."""
    from .. import local

    done, lost = local.rotate_secrets(options.load(path, dev))
    click.echo(f"Encrypted anew: {done} passwords.")
    if lost:
        click.echo(f"mailapi: No key opens the passwords of the sync jobs {lost}.", err=True)
        click.get_current_context().exit(1)


@key.command()
@options.config_options
@click.argument("id_", metavar="ID", type=int)
def rm(path: Path | None, dev: str | None, id_: int) -> None:
    """Remove a key; it is refused from now on."""
    from .. import local

    local.remove_key(options.load(path, dev), id_)
