"""Set the host up as planned, and take it back.

    apply(host, plan, force, say)       `say` is called with each line for the administrator
    undo(host, force, purge, say)
    unfinished(host)                    an apply was begun, and neither finished nor taken back

Before each change the journal tells it. So after a crash at any moment, of this or of a server,
`apply` finishes what was begun, and `undo` takes it back. Raise `InitFailed`, `InitConflict`,
`OSError`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from .. import local
from ..config import Config
from ..errors import InitConflict
from . import activate, proof
from . import undo as back
from .host import Host
from .journal import Journal
from .plan import Plan, config_of
from .steps import File, Step, pending

Say = Callable[[str], None]
KEY: Final = "mailapi init"


def unfinished(host: Host) -> bool:
    journal = Journal(host)
    return journal.open and not _done(journal)


def nothing_to_do(host: Host, plan: Plan) -> bool:
    return not pending(host, plan.steps) and not unfinished(host)


def apply(host: Host, plan: Plan, conflicts: list[str], say: Say) -> None:
    """`conflicts`: those that are not forced; there must be none."""
    journal = Journal(host)
    with journal.locked():
        if nothing_to_do(host, plan):
            return say("This host is set up; nothing was changed.")
        if conflicts:
            raise InitConflict(
                "Settings of this host are in the way; mailapi init shows them, --force overrides."
            )
        if "begun" not in journal.marks():
            sockets = activate.sockets(host)
            journal.mark("begun", running=activate.running(host), sockets=sockets)
        journal.mark("changing")
        proof.clean(host, plan.config, journal)
        _do(host, journal, plan.ours, say)
        say("start the service")
        activate.service(host)
        paths = [str(step.path) for step in plan.servers if isinstance(step, File)]
        journal.mark("servers", paths=paths)
        _do(host, journal, plan.servers, say)
        activate.check(host)
        say("restart Postfix and Dovecot")
        activate.servers(host, list(activate.SERVERS))
        activate.runner(host)
        say("deliver a message to this host, and read it")
        proof.deliver(host, plan.config, journal)
        _first_key(journal, plan.config, say)
        journal.mark("done")
    return None


def undo(host: Host, force: bool, purge: bool, say: Say) -> None:
    journal = Journal(host)
    with journal.locked():
        if not journal.open:
            return say("There is nothing to undo: mailapi init has changed nothing here.")
        changed = back.changed(host, journal)
        if changed and not force:
            raise InitConflict(
                f"Changed since mailapi init: {', '.join(changed)}. --force takes it back all the "
                f"same, and keeps a copy of files below {back.KEPT}."
            )
        if kept := back.keep(host, changed):
            say(f"What was changed since is kept in {kept}.")
        _take_back(host, journal, purge, say)
        journal.close()
    return say("This host is as it was before mailapi init.")


def _take_back(host: Host, journal: Journal, purge: bool, say: Say) -> None:
    """The servers first: they must not read what is gone."""
    entries, marks = journal.entries(), journal.marks()
    if (config := config_of(host)) is not None:
        proof.clean(host, config, journal)
    theirs = {name for e in entries if e.name == "servers" for name in e.note.get("paths", ())}
    first = [entry for entry in entries if entry.name in theirs]
    for entry in reversed(first):
        back.restore(host, journal, entry)
    if "servers" in marks:
        say("restart Postfix and Dovecot")
        activate.servers(host, marks["begun"]["running"])
        for path in set(activate.sockets(host)) - set(marks["begun"]["sockets"]):
            host.remove(Path(path))
    say("stop the service")
    activate.stop(host)
    for entry in reversed([entry for entry in entries if entry.name not in theirs]):
        if left := back.restore(host, journal, entry, purge):
            say(left)
    activate.forget(host)


def _do(host: Host, journal: Journal, steps: list[Step], say: Say) -> None:
    for step in steps:
        if what := step.pending(host):
            say(what)
            step.do(host, journal)


def _done(journal: Journal) -> bool:
    last = [e.name for e in journal.entries() if e.name in ("changing", "done")]
    return last[-1:] == ["done"]


def _first_key(journal: Journal, config: Config, say: Say) -> None:
    """Make and show it once; one that a crash kept from being shown is made anew."""
    keys: list[dict[str, Any]] = local.keys(config)
    if "key" in journal.marks():
        if journal.marks()["key"]["shown"]:
            return
        for key in keys:
            if key["name"] == KEY:
                local.remove_key(config, key["id"])
    elif keys:
        return say("There are API keys already: mailapi key list.")
    journal.mark("key", shown=False)
    made = local.add_key(config, {"name": KEY, "scope": "admin"})
    say(f"The first API key, shown this once: {made}")
    journal.mark("key", shown=True)
