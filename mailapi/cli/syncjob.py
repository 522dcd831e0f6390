"""`mailapi syncjob`: besides list, show, add, set and rm also test, run, runs and watch."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from . import nouns, options, passwords
from .objects import SYNCJOB

if TYPE_CHECKING:
    from ..client import Service

LOOK: Final = 0.5  # seconds
WHOLE: Final = 1000  # parts of the bar


def group() -> click.Group:
    """The command group."""
    made = nouns.group(SYNCJOB)
    for command in (test, run, runs, watch):
        made.add_command(command)
    return made


@click.command()
@options.service_options
@options.output_option
@click.argument("address", metavar="ADDRESS")
@click.option("--host1", required=True, help="The remote server's name or address.")
@click.option("--port1", type=int, help="Its port; 993 for SSL, 143 for the others.")
@click.option("--user1", required=True, help="The log-in there.")
@click.option("--enc1", default="SSL", show_default=True, help="SSL, TLS (STARTTLS) or PLAIN.")
@click.option("--exclude", multiple=True, help="A pattern of folders to leave out; repeat it.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def test(
    service: Service, output: str, address: str, exclude: Any, password_stdin: bool, **given: Any
) -> None:
    """Log in at the remote side and show what is there; nothing is stored."""
    from .. import client

    asked = {"password_prompt": False, "password_stdin": password_stdin, "generate": False}
    body = {name: value for name, value in given.items() if value is not None}
    body |= {"username": address, "exclude": list(exclude)}
    body["password1"] = passwords.ask(True, confirm=False, **asked)
    found = client.request(service, "POST", "/syncjobs", body, {"test": "true"})["data"]
    if output == "json":
        options.show_one(found, output)
        return
    options.show(found["folders"], output)
    size = "" if found["bytes"] is None else f", {found['bytes']} bytes"
    click.echo(f"{found['messages']} messages{size}.")


@click.command()
@options.service_options
@click.argument("which", metavar="ID")
def run(service: Service, which: str) -> None:
    """Start a sync job now."""
    from .. import client

    found = client.request(service, "POST", f"{client.path('syncjobs', which)}/run", {})
    click.echo(f"{found['msg']}: {found['id']}. {found.get('detail', '')}".rstrip())


@click.command()
@options.service_options
@options.output_option
@click.argument("which", metavar="ID")
def runs(service: Service, output: str, which: str) -> None:
    """The last runs of a sync job, newest first."""
    from .. import client

    found = client.request(service, "GET", f"{client.path('syncjobs', which)}/runs")
    columns = ("id", "started", "ended", "result", "messages", "bytes", "output")
    options.show(found, output, columns)


@click.command()
@options.service_options
@click.argument("which", metavar="ID")
def watch(service: Service, which: str) -> None:
    """Show how far a run is, until it ends; exit code 1 if it did not succeed."""
    from .. import client

    def show() -> dict[str, Any]:
        found: dict[str, Any] = client.request(service, "GET", client.path("syncjobs", which))
        return found

    job = show()
    label = f"Sync job {job['id']}"
    with click.progressbar(
        length=WHOLE, label=label, file=sys.stderr, item_show_func=_shown
    ) as bar:
        while job["is_running"]:
            done = int((job["share"] or 0) * WHOLE)
            bar.update(max(0, done - bar.pos), job)
            time.sleep(LOOK)
            job = show()
        if job["success"]:
            bar.update(WHOLE - bar.pos)
    click.echo(f"{job['exit_status'] or 'It has not run yet'}: {job['messages']} messages copied.")
    if job["success"] is False:
        click.get_current_context().exit(1)


def _shown(job: dict[str, Any] | None) -> str | None:
    return None if job is None else f"{job['messages']} messages, {job['folder'] or ''}"
