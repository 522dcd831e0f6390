"""What the administrator has set, and `mailapi init` would change or get in the way of.

    find(host, plan)    -> sentences; empty on a stock host of Debian or Ubuntu
    notes(host, plan)   -> what is no conflict, but worth a word

What Debian's packages set themselves is no conflict. A setting that is already as we want it is
none either, so there are none on a host that is set up.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Final

from ..errors import InitFailed
from .found import CONF, POSTFIX
from .host import Host
from .plan import Plan, mail_root
from .steps import Directory, File

# Settings of Debian's main.cf that ours replace; in words, without what separates them.
STOCK: Final = {
    "smtpd_relay_restrictions": {
        "permit_mynetworks permit_sasl_authenticated defer_unauth_destination",
        "permit_mynetworks permit_sasl_authenticated reject_unauth_destination",
    },
    "smtpd_tls_security_level": {"may"},
    "smtp_tls_security_level": {"may"},
    "recipient_delimiter": {"+", ""},
    "virtual_alias_domains": {""},
}
PORTS: Final = {"smtps", "465", "587"}  # other names for the services that we add
LOCAL: Final = re.compile(r"local(host|domain)|localhost\..*|.*\.localdomain|\$.*")
MAILBOX: Final = "/var/mail"
PASSDB: Final = re.compile(r"^(passdb|userdb)\b ?([\w-]*) ?\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
PEOPLE: Final = 1000  # the first uid that Debian gives to people


def find(host: Host, plan: Plan) -> list[str]:
    return [
        *_postfix(host, plan),
        *_master(host, plan),
        *_dovecot(host, plan),
        *_directories(host, plan),
        *_config(plan),
    ]


def notes(host: Host, plan: Plan) -> list[str]:
    """Local mail that is addressed to a domain which Postfix will no longer deliver itself."""
    name = host.text(Path("/etc/mailname")).strip().lower()
    mine = (host.ask("postconf", "-x", "-h", "mydestination") or "").replace(",", " ").split()
    if not name or name == plan.found.myhostname or name not in mine:
        return []
    return [
        f"/etc/mailname is {name}: mail to root and other local accounts goes there, which will "
        "be no local domain any more. Make it a domain of mailapi with such aliases, or write "
        f"{plan.found.myhostname} into /etc/mailname."
    ]


def parameters(host: Host, directory: Path) -> dict[str, str]:
    """What a main.cf sets, by name, with one blank between words. Raise `InitFailed`."""
    said = host.run("postconf", "-c", str(directory), "-n")
    found = (line.partition("=") for line in said.splitlines())
    values = {name.strip(): words(value) for name, _, value in found}
    values.pop("config_directory", None)  # Postfix 3.7 shows where we look
    return values


def words(value: str) -> str:
    return " ".join(value.replace(",", " ").split())


def _postfix(host: Host, plan: Plan) -> list[str]:
    """Parameters that are set to something else than Debian sets them to."""
    new = _staged(plan)
    if not new:
        return []
    with tempfile.TemporaryDirectory(prefix="mailapi-init.") as name:
        for file, data in new.items():
            Path(name, file).write_bytes(data)
        now, then = parameters(host, POSTFIX), parameters(host, Path(name))
    found = []
    for parameter, value in then.items():
        had = now.get(parameter)
        if had is None or had == value or had in STOCK.get(parameter, ()):
            continue
        if parameter == "mydestination":
            found += _mydestination(host, plan, had)
        else:
            found.append(f"Postfix's {parameter} is {had or 'empty'}; it would become {value}.")
    return found


def _staged(plan: Plan) -> dict[str, bytes]:
    files = {step.path.name: step.data for step in plan.servers if isinstance(step, File)}
    return {name: files[name] for name in CONF if name in files}


def _mydestination(host: Host, plan: Plan, had: str) -> list[str]:
    """Domains whose mail goes to local accounts now, but for those that Debian puts there."""
    mine = plan.found.myhostname.lower()
    stock = {mine, mine.partition(".")[0], host.text(Path("/etc/mailname")).strip().lower()}
    names = [name.lower() for name in had.split()]
    return [
        f"Postfix delivers mail to {name} to local accounts (mydestination); it would no longer."
        for name in names
        if not LOCAL.fullmatch(name) and name not in stock
    ]


def _master(host: Host, plan: Plan) -> list[str]:
    """Services of master.cf that are there and would become others, or want the same port."""
    new = _services(_staged(plan).get("master.cf", b"").decode("utf-8", "surrogateescape"))
    now = _services(host.text(POSTFIX / "master.cf"))
    changed = [
        f"Postfix's master.cf has a service {name}; it would be replaced."
        for name, text in now.items()
        if new and new.get(name) != text
    ]
    return changed + [
        f"Postfix's master.cf has a service {name}, which would stand in the way of ours."
        for name in now
        if name.partition("/")[0].rpartition(":")[2] in PORTS
    ]


def _services(master: str) -> dict[str, tuple[str, ...]]:
    """name/type -> the words of the logical line, the options in any order; master(5)."""
    logical: list[str] = []
    for line in master.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and logical:
            logical[-1] += f" {line}"
        else:
            logical.append(line)
    split = [line.split() for line in logical]
    return {f"{f[0]}/{f[1]}": (*f[:8], *sorted(f[8:])) for f in split if len(f) > 1}


def _dovecot(host: Host, plan: Plan) -> list[str]:
    """Other users than ours, and local mailboxes that IMAP would not show any more."""
    said = host.run("doveconf", "-n")
    ours = str(plan.config.dovecot.directory / "users")
    found = []
    for kind, name, block in PASSDB.findall(said):
        driver = re.search(r"driver = (\S+)", block)
        what = driver[1] if driver else name
        if ours not in block and what not in ("pam", "passwd"):
            found.append(f"Dovecot has another {kind} ({what}), which would go on beside ours.")
    changes = any(isinstance(s, File) and s.path.name == "10-auth.conf" for s in plan.servers)
    if changes and (people := _with_mail(host)):
        found.append(
            f"Local accounts have mail in {MAILBOX} ({', '.join(people)}); they could not log in "
            "to Dovecot any more."
        )
    return found


def _with_mail(host: Host) -> list[str]:
    """People with a mailbox that is not empty."""
    directory = host.real(Path(MAILBOX))
    files = list(directory.iterdir()) if directory.is_dir() else []
    return sorted(f.name for f in files if f.stat().st_size and f.stat().st_uid >= PEOPLE)


def _directories(host: Host, plan: Plan) -> list[str]:
    """The state or the mail of somebody else."""
    found = []
    for step in plan.ours:
        if not isinstance(step, Directory) or step.holds != "data" or not step.pending(host):
            continue
        image = host.image(step.path)
        known = step.owner in host.accounts("passwd") and image.uid == host.uid(step.owner)
        if image.kind != "absent" and image.uid != 0 and not known:
            found.append(f"{step.path} belongs to another user; it would become {step.owner}'s.")
    return found


def _config(plan: Plan) -> list[str]:
    """A configuration that is there has to have what `init` itself needs. Raise `InitFailed`."""
    server, reload = plan.config.server, plan.config.reload
    if server.admin_socket is None:
        raise InitFailed(
            'Set [server] admin_socket = "/run/mailapi/admin.sock" in /etc/mailapi/config.toml: '
            "mailapi init asks the service there."
        )
    found = []
    if reload.socket is None:
        found.append(
            "[reload] socket is not set in /etc/mailapi/config.toml: sessions would not end with "
            "their mailboxes."
        )
    if plan.config.postfix.map_type != "lmdb" and reload.socket is None:
        found.append('With map_type = "texthash" Postfix would not see changes.')
    if mail_root(plan.config) == Path("/"):
        raise InitFailed("[dovecot] mail_home must begin with a directory of its own.")
    return found
