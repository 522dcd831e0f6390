"""make test-host: `mailapi init` on a real Debian 12 and 13, from an empty host and back to it.

    prove.py [bookworm] [trixie] [--kills N]

Each suite is a container of its own (machine.py). Exits 1 at the first fact that does not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import machine
import snapshot
from machine import Machine

HERE = Path(__file__).parent
VENV = "/opt/mailapi/venv"
MAILAPI = f"{VENV}/bin/mailapi"
DOMAIN, ANN, PASSWORD = "example.com", "ann@example.com", "securepassword123"
BOB = "bob@example.com"
INSTALL = (
    f"python3 -m venv {VENV} && {VENV}/bin/pip install --quiet --no-index "
    "--find-links /root/wheels mailapi && rm -r /root/wheels"
)
# What an administrator may have set, and how `init` begins to say so.
SETTINGS = {
    "postconf -e 'virtual_mailbox_domains = example.org'": "Postfix's virtual_mailbox_domains is",
    "postconf -e 'mydestination = $myhostname, example.org, localhost'": "Postfix delivers mail to",
    "postconf -M -e 'smtps/inet = smtps inet n - y - - smtpd'": "Postfix's master.cf has a service",
    "cp /root/passdb.conf /etc/dovecot/conf.d/99-mine.conf": "Dovecot has another passdb (static)",
}
PASSDB = {
    "12": "passdb {\n  driver = static\n  args = password=x\n}\n",
    "13": "passdb mine {\n  driver = static\n  passdb_static_password = x\n}\n",
}
# What breaks, the check that must say so, and how the doctor says it is mended.
FAULTS = {
    "chmod 0644 /var/lib/mailapi-maps/dovecot/users": "secrets in",
    "chmod 0755 /var/lib/mailapi": "directory /var/lib/mailapi",
    "sed -i d /var/lib/mailapi-maps/postfix/virtual_mailbox_maps": "drift in",
    "postconf -e 'mydestination = $myhostname, example.com'": "postfix mydestination",
    "postconf -e 'smtpd_relay_restrictions = permit'": "postfix open relay",
    "postconf -e 'mynetworks = 0.0.0.0/0'": "postfix mynetworks",
    "postconf -e 'smtpd_forbid_bare_newline = no'": "postfix smuggling",
    "postconf -e 'virtual_mailbox_maps ='": "postfix virtual_mailbox_maps",
    "postconf -M -e 'submission/inet = submission inet n - y - - cleanup'": "postfix master.cf",
    "echo '# mine' >> /etc/dovecot/conf.d/90-mailapi.conf": "dovecot settings",
    "systemctl stop mailapi": "unit mailapi.service",
    "systemctl stop mailapi-reload.socket mailapi-reload.service": "reload hook",
    "echo >> /usr/local/sbin/mailapi-reload": "file /usr/local/sbin/mailapi-reload",
    "touch -d '+1 hour' /var/lib/mailapi-maps/dovecot/users": "clock",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", default=list(machine.DEBIAN))
    parser.add_argument("--kills", type=int, default=6)
    given = parser.parse_args()
    for suite in given.suites:
        begin = time.monotonic()
        tree = machine.tree(suite)
        wheels = machine.wheelhouse(suite, tree)
        with Machine(tree) as here:
            shutil.copytree(wheels, here.root / "root/wheels")
            shutil.copy(HERE / "inside.py", here.root / "root")
            prove(Host(here, machine.DEBIAN[suite]), given.kills)
        print(f"Debian {machine.DEBIAN[suite]}: {time.monotonic() - begin:.0f} seconds", flush=True)


class Host:
    def __init__(self, machine: Machine, version: str) -> None:
        self.machine, self.version = machine, version
        self.name = f"host{version}.example.net"
        self.key = ""

    def fact(self, what: str, holds: object, why: object = "") -> None:
        """Print what holds; end with the reason if it does not."""
        print(f"Debian {self.version}: {what}", flush=True)
        if not holds:
            sys.exit(f"Debian {self.version}: this does NOT hold: {why}")

    def run(self, script: str, check: bool = True) -> str:
        return self.machine.run(script, check=check)

    def mailapi(self, command: str, check: bool = True) -> str:
        return self.run(f"{MAILAPI} {command}", check)

    def inside(self, *words: str) -> str:
        return self.run(f"python3 /root/inside.py {shlex.join(words)}").strip()

    def curl(self, method: str, path: str, body: object) -> dict[str, object]:
        """Through nginx, over TLS, as a client elsewhere would; nginx may be about to listen."""
        said = self.run(
            f"curl -sk --retry 20 --retry-delay 1 --retry-connrefused -X {method} "
            f"https://{self.name}/api/v1{path} "
            f"-H 'Authorization: Bearer {self.key}' -H 'Content-Type: application/json' "
            f"-d {shlex.quote(json.dumps(body))}"
        )
        return json.loads(said)  # type: ignore[no-any-return]

    def doctor(self) -> list[str]:
        """The checks that say that something is wrong."""
        found = json.loads(self.mailapi("doctor -o json", check=False))
        return [finding["check"] for finding in found if finding["status"] == "wrong"]

    def settle(self) -> list[str]:
        """The same, when what was just started or killed has had time to come up."""
        wrong: list[str] = []
        for _ in range(20):
            if not (wrong := self.doctor()):
                break
            time.sleep(1)
        return wrong

    def taken(self) -> dict[str, tuple[object, ...]]:
        return snapshot.take(self.machine.root)


def prove(host: Host, kills: int) -> None:
    host.machine.boot()
    host.run(INSTALL)
    before = host.taken()
    shows(host, before)
    conflicts(host)
    applies(host)
    nginx(host)
    mail(host, "first")
    host.fact("doctor finds nothing wrong", not host.doctor())
    synced(host)
    host.machine.reboot()
    host.fact(
        "after a reboot the mail is there", host.inside("read", ANN, PASSWORD, "first") == "1"
    )
    host.fact("after a reboot mail comes in", mailed(host, "second"))
    host.fact("doctor finds nothing wrong", not host.settle())
    faults(host)
    host.run("rm /etc/nginx/conf.d/mailapi.conf; systemctl reload nginx")
    undoes(host, before)
    killed(host, before, kills)


def shows(host: Host, before: dict[str, tuple[object, ...]]) -> None:
    said = host.mailapi("init")
    host.fact("init shows what it would do", "make the group and user mailapi" in said)
    host.fact("init finds nothing in the way on a stock host", "In the way" not in said)
    host.fact("init changes nothing", not snapshot.differences(before, host.taken()))


def conflicts(host: Host) -> None:
    """What the administrator has set is shown, and nothing is done without --force."""
    kept = "/etc/postfix/main.cf /etc/postfix/master.cf /etc/dovecot/conf.d"
    host.run(f"tar -cPf /root/kept.tar {kept}")
    (host.machine.root / "root/passdb.conf").write_text(PASSDB[host.version])
    for setting in SETTINGS:
        host.run(setting)
    there = host.taken()
    said = host.mailapi("init --apply", check=False)
    for setting, what in SETTINGS.items():
        host.fact(f"in the way: {setting}", f"In the way: {what}" in said, said)
    host.fact("nothing is done without --force", not snapshot.differences(there, host.taken()))
    host.mailapi("init --apply --force")
    host.fact("with --force it is", not host.settle())
    host.mailapi("init --undo --purge")
    left = snapshot.differences(there, host.taken())
    host.fact("and taken back", not left, left)
    host.run(f"rm -r {kept}; tar -xPf /root/kept.tar; systemctl restart postfix dovecot")


def applies(host: Host) -> None:
    begin = time.monotonic()
    said = host.mailapi("init --apply")
    host.key = said.partition("shown this once: ")[2].split()[0]
    host.fact(f"init --apply works ({time.monotonic() - begin:.1f} s)", host.key)
    after = host.taken()
    again = host.mailapi("init --apply")
    host.fact("a second time changes nothing, and says so", "nothing to do" in again)
    left = [name for name in snapshot.differences(after, host.taken()) if "mailapi.db" not in name]
    host.fact("no file differs, but what the service writes", not left, left)


def nginx(host: Host) -> None:
    """In front, with the certificate that Debian's ssl-cert makes."""
    host.run(
        f"{MAILAPI} config nginx | sed -e 's|/etc/letsencrypt/live/[^ ;]*fullchain.pem|"
        "/etc/ssl/certs/ssl-cert-snakeoil.pem|; s|/etc/letsencrypt/live/[^ ;]*privkey.pem|"
        "/etc/ssl/private/ssl-cert-snakeoil.key|' > /etc/nginx/conf.d/mailapi.conf && "
        "nginx -t && systemctl reload nginx"
    )
    domain = {"domain": DOMAIN, "active": True, "mailboxes": 10, "aliases": 400, "defquota": 1,
              "maxquota": 10, "quota": 100}  # fmt: skip
    said = host.curl("POST", "/domains", domain)
    host.fact("curl through nginx: " + str(said["msg"]), said.get("applied"))
    mailbox = {"local_part": "ann", "domain": DOMAIN, "name": "Ann", "password": PASSWORD,
               "quota": 1, "active": True}  # fmt: skip
    said = host.curl("POST", "/mailboxes", mailbox)
    host.fact("curl through nginx: " + str(said["msg"]), said.get("applied"))


def synced(host: Host) -> None:
    """A sync job, run by its unit, with this host as the remote side, too."""
    config = "/etc/mailapi/config.toml"
    allowed = "s/^allow_private_hosts = false/allow_private_hosts = true/"
    units = "systemctl restart mailapi mailapi-sync"
    host.run(f"cp -a {config} /root/kept.toml && sed -i '{allowed}' {config} && {units}")
    mailbox = {"local_part": "bob", "domain": DOMAIN, "name": "", "password": PASSWORD,
               "quota": 1, "active": True}  # fmt: skip
    host.curl("POST", "/mailboxes", mailbox)
    job = {"username": BOB, "host1": "127.0.0.1", "enc1": "PLAIN", "user1": ANN,
           "password1": PASSWORD, "subfolder2": "Old"}  # fmt: skip
    said = host.curl("POST", "/syncjobs?test=1", job)
    host.fact("a look at the remote side finds the message", said.get("data", {})["messages"] == 1)
    number = host.curl("POST", "/syncjobs", job)["id"]
    shown: dict[str, object] = {}
    for _ in range(60):
        shown = json.loads(host.mailapi(f"syncjob show {number} -o json"))
        if shown["exit_status"]:
            break
        time.sleep(0.5)
    runs = host.mailapi(f"syncjob runs {number} -o json")
    host.fact("a sync job copies it", (shown["exit_status"], shown["messages"]) == ("ok", 1), runs)
    host.fact("it lies in Old/INBOX", "1" in host.run(f"doveadm search -u {BOB} mailbox Old* all"))
    host.run(f"mv /root/kept.toml {config} && {units}")


def mailed(host: Host, subject: str) -> bool:
    host.inside("send", "bob@example.org", ANN, subject)
    return bool(host.inside("read", ANN, PASSWORD, subject))


def mail(host: Host, subject: str) -> None:
    host.fact("a message is sent, and read in INBOX", mailed(host, subject))
    where = host.run("find /var/vmail -type f -path '*/Maildir/new/*' -o -path '*/Maildir/cur/*'")
    host.fact("it lies in ~/Maildir, INBOX itself", "/example.com/ann/Maildir/" in where)
    limit = host.run(f"doveadm -f tab quota get -u {ANN}")
    host.fact("Dovecot's quota is that of the mailbox, 1024 KiB", "\t1024\t" in limit)
    said = host.inside("submit", ANN, PASSWORD, "large", str(3 * 1024 * 1024))
    host.fact("a message over quota is refused: " + said, said.startswith("552 "))
    session = host.machine.start(
        f"python3 /root/inside.py idle {ANN} {PASSWORD}", stdout=machine.subprocess.PIPE, text=True
    )
    assert session.stdout is not None
    assert session.stdout.readline() == "open\n"
    begin = time.monotonic()
    host.curl("PUT", f"/mailboxes/{ANN}", {"password": PASSWORD})
    ended = session.stdout.readline() == "ended\n" and time.monotonic() - begin
    host.fact(f"a new password ends the open session ({ended:.1f} s)", ended and ended < 3)
    session.wait(30)


def faults(host: Host) -> None:
    """The doctor names each fault, and what it says to do mends it."""
    for fault, check in FAULTS.items():
        host.run(fault)
        found = [f for f in json.loads(host.mailapi("doctor -o json", check=False))
                 if f["status"] == "wrong" and f["check"].startswith(check)]  # fmt: skip
        host.fact(f"doctor sees: {fault}", found)
        for mend in sorted({finding["mend"] for finding in found}):
            host.run(mend)
        host.fact("  and its command mends it", not host.settle())


def undoes(host: Host, before: dict[str, tuple[object, ...]]) -> None:
    said = host.mailapi("init --undo", check=False)
    host.fact(
        "undo overwrites no change of the administrator", "main.cf" in said and "--force" in said
    )
    said = host.mailapi("init --undo --force")
    host.fact("--force keeps a copy", "is kept in /var/backups/mailapi-init" in said)
    host.run("rm -r /var/backups/mailapi-init.*")
    stays = {"/var/lib/mailapi", "/var/lib/mailapi-secrets", "/var/vmail"}
    host.fact(
        "undo keeps the database and the mail", all(f"{name} stays" in said for name in stays)
    )
    left = [
        line for line in snapshot.differences(before, host.taken())
        if not line.startswith(tuple(stays))
    ]  # fmt: skip
    host.fact("undo leaves nothing else", not left, left)
    host.fact("Postfix and Dovecot run", host.run("systemctl is-active postfix dovecot"))
    said = host.mailapi("init --apply")
    host.fact("a later init takes the state over", "There are API keys already" in said)
    host.fact("and the mail", mailed(host, "third"))
    host.mailapi("init --undo")
    host.run("rm -r /var/lib/mailapi /var/lib/mailapi-secrets /var/vmail")
    left = snapshot.differences(before, host.taken())
    host.fact("undo leaves nothing", not left, left)


def killed(host: Host, before: dict[str, tuple[object, ...]], kills: int) -> None:
    """Whoever is killed at any moment: apply finishes, undo restores."""
    whole = time.monotonic()
    host.mailapi("init --apply")
    whole = time.monotonic() - whole
    host.mailapi("init --undo --purge")
    for number, victim in zip(range(kills), victims(), strict=False):
        moment = random.uniform(0.3, whole)
        host.run(
            f"{MAILAPI} init --apply >/root/out 2>&1 & P=$!; sleep {moment:.2f}; {victim}; wait $P",
            check=False,
        )
        what = f"{victim.split()[-1].replace('$P', 'init')} killed after {moment:.2f} s"
        if number % 2:
            host.mailapi("init --apply")
            wrong = host.settle()
            host.fact(f"{what}: --apply finishes it", not wrong, wrong)
        host.mailapi("init --undo --purge")
        left = snapshot.differences(before, host.taken())
        host.fact(f"{what}: --undo restores all", not left, left)
        host.run("systemctl is-active postfix dovecot")


def victims() -> Iterator[str]:
    """Shell commands that kill: init itself, most of the time."""
    while True:
        yield from 2 * ["kill -9 $P"]
        for name in ("mailapi", "dovecot", "postfix@-", "mailapi-reload"):
            yield "kill -9 $P"
            yield f"systemctl kill -s KILL {name}"


if __name__ == "__main__":
    main()
