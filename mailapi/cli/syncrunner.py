"""`mailapi sync-runner`."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command("sync-runner")
@options.config_options
def sync_runner(path: Path | None, dev: str | None) -> None:
    """Run sync jobs until SIGTERM or SIGINT; as the user whom the mail belongs to."""
    import asyncio

    from .. import log
    from ..syncrunner.main import serve

    config = options.load(path, dev)
    log.setup(config.log.level, config.log.format)
    asyncio.run(serve(config))
