"""`mailapi doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options

if TYPE_CHECKING:
    from ..doctor.finding import Finding


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration (default /etc/mailapi/config.toml).",
)
@options.output_option
def doctor(path: Path | None, output: str) -> None:
    """Check this host; exit code 1 if something is wrong, with the command that mends it."""
    from .. import config
    from ..doctor.examine import examine

    found = examine(config.load(path))
    wrong = [finding for finding in found if finding.status == "wrong"]
    if output == "json":
        rows = [finding.row() for finding in found]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        for finding in found:
            _show(finding)
        good = f"{len(found)} checks, nothing is wrong."
        click.echo(good if not wrong else f"{len(found)} checks, {len(wrong)} wrong.")
    if wrong:
        click.get_current_context().exit(1)


def _show(finding: Finding) -> None:
    first, *rest = finding.found.split("\n")
    click.echo(f"{finding.status:5}  {finding.check}: {first}")
    for line in rest:
        click.echo(f"       {line}")
    if finding.status != "ok":
        click.echo(f"       should be: {finding.expected}")
        click.echo(f"       mend: {finding.mend}")
