"""`mailapi init`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..setup.host import Host
    from ..setup.plan import Plan


@click.command()
@click.option("--apply", "what", flag_value="apply", help="Do it.")
@click.option("--undo", "what", flag_value="undo", help="Take all of it back.")
@click.option("--force", is_flag=True, help="Override settings that are in the way.")
@click.option("--purge", is_flag=True, help="With --undo: remove the database and the mail, too.")
def init(what: str | None, force: bool, purge: bool) -> None:
    """Set this host up: show what would be done, do it, or take it back."""
    from ..setup import init as ours
    from ..setup.host import Host

    if purge and what != "undo":
        raise click.UsageError("--purge goes with --undo.")
    host = Host()
    if what == "undo":
        ours.undo(host, force, purge, click.echo)
        return
    _apply(host, what == "apply", force)


def _apply(host: Host, really: bool, force: bool) -> None:
    from ..setup import conflicts, found, init, plan

    here = found.look(host)
    click.echo(f"Found {here}.")
    planned = plan.make(host, here)
    if not really and init.unfinished(host):
        click.echo("An earlier run was interrupted: --apply finishes it, --undo takes it back.")
    if init.nothing_to_do(host, planned):
        click.echo("This host is set up; there is nothing to do.")
        return
    problems = conflicts.find(host, planned)
    if not really or problems:
        _show(host, planned)
    for line in conflicts.notes(host, planned):
        click.echo(f"Note: {line}")
    for line in problems:
        click.echo(f"In the way: {line}")
    if really:
        init.apply(host, planned, [] if force else problems, click.echo)
        click.echo("See whether all is well: mailapi doctor")
        if here.nginx:
            click.echo("nginx in front: mailapi config nginx > /etc/nginx/conf.d/mailapi.conf")
    elif problems:
        click.echo("Nothing was changed. To do it all the same: mailapi init --apply --force")
    else:
        click.echo("Nothing was changed. To do it: mailapi init --apply")


def _show(host: Host, planned: Plan) -> None:
    """What would be done, with the lines that would change in files that are there."""
    from ..setup.steps import File, pending

    click.echo("It would:")
    for step in pending(host, planned.steps):
        click.echo(f"  {step.pending(host)}")
        for line in step.diff(host) if isinstance(step, File) else ():
            click.echo(f"      {line}")
    click.echo("  start the service, and restart Postfix and Dovecot")
    click.echo("  deliver a message to this host and read it, in a mailbox that is removed again")
