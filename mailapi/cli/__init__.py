"""The command line: `mailapi COMMAND`.

The exit codes are in `EXIT`; 75 and 78 are those of sysexits.h. Errors go to standard error and say
how to mend them. A command imports what it needs when it runs.
"""

from __future__ import annotations

import click

from .. import __version__, errors
from . import (
    backup,
    config,
    doctor,
    init,
    key,
    man,
    nouns,
    objects,
    sandbox,
    serve,
    service,
    syncjob,
    syncrunner,
)

EXIT: dict[type[errors.MailapiError], int] = {
    errors.NotFound: 3,
    errors.Exists: 4,
    errors.NotEmpty: 4,
    errors.PreconditionFailed: 4,
    errors.InitConflict: 4,
    errors.Unauthorized: 5,
    errors.Forbidden: 5,
    errors.Unreachable: 6,
    errors.AlreadyRunning: 75,
    errors.ConfigError: 78,
}


class Group(click.Group):
    """Turns the exceptions of the service into messages and exit codes."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except errors.MailapiError as error:
            click.echo(f"mailapi: {error.msg}", err=True)
            for item in error.fields[1:]:
                click.echo(f"mailapi: {item.field}: {item.msg}", err=True)
            ctx.exit(next((EXIT[kind] for kind in type(error).__mro__ if kind in EXIT), 1))


EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict, 5 not allowed, 6 cannot reach "
    "the service, 75 another instance runs on this state, 78 bad configuration."
)


@click.group(cls=Group, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mailapi")
def main() -> None:
    """A REST API for a plain single-host Postfix and Dovecot mail server.

    It keeps domains, mailboxes, aliases and sync jobs, and writes what the two servers read. The
    commands for status, apply, domain, mailbox, alias, syncjob and changes ask the running service,
    here or at --url; the others work on this host's own files.
    """


main.add_command(serve.serve)
main.add_command(sandbox.sandbox)
main.add_command(init.init)
main.add_command(doctor.doctor)
main.add_command(syncrunner.sync_runner)
main.add_command(service.status)
main.add_command(service.apply)
main.add_command(service.render)
main.add_command(config.config)
main.add_command(key.key)
main.add_command(backup.backup)
main.add_command(backup.restore)
main.add_command(man.man)
main.add_command(syncjob.group())
for noun in (objects.DOMAIN, objects.MAILBOX, objects.ALIAS, objects.CHANGES):
    main.add_command(nouns.group(noun))
