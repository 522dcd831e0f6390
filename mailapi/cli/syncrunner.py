"""`mailapi sync-runner`."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command("sync-runner")
@options.config_options
def sync_runner(path: Path | None, dev: str | None) -> None:
    """Run sync jobs until SIGTERM or SIGINT; as the user whom the mail belongs to."""
    from .. import log, loop
    from ..syncrunner.main import serve

    config = options.load(path, dev)
    log.setup(config.log.level, config.log.format)
    loop.run(serve(config))
