"""`mailapi config`: our own configuration, and what Postfix, Dovecot and nginx need."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.group()
def config() -> None:
    """Our configuration, and what the mail servers need to read our files."""


@config.command()
def example() -> None:
    """Every key with its default and what it means."""
    from .. import config as ours

    click.echo(ours.example(), nl=False)


@config.command()
@options.config_options
def check(path: Path | None, dev: str | None) -> None:
    """Say what is wrong with the configuration."""
    options.load(path, dev)
    click.echo("The configuration is good.")


@config.command()
@options.config_options
def show(path: Path | None, dev: str | None) -> None:
    """The values in effect."""
    from .. import config as ours

    click.echo(ours.show(options.load(path, dev)), nl=False)


@config.command()
@options.config_options
def postfix(path: Path | None, dev: str | None) -> None:
    """A script of postconf commands for the Postfix installed here."""
    from .. import serverconfig

    click.echo(serverconfig.postfix(options.load(path, dev)), nl=False)


@config.command()
@options.config_options
def dovecot(path: Path | None, dev: str | None) -> None:
    """A file for conf.d of the Dovecot installed here."""
    from .. import serverconfig

    click.echo(serverconfig.dovecot(options.load(path, dev)), nl=False)


@config.command()
@options.config_options
def nginx(path: Path | None, dev: str | None) -> None:
    """A file for conf.d of an nginx in front: TLS, time-outs, the API and its pages."""
    from .. import serverconfig

    click.echo(serverconfig.nginx(options.load(path, dev)), nl=False)
