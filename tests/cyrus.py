"""The remote side of sync jobs: a real Cyrus IMAP server, whose habits are not Dovecot's.

    with Cyrus() as remote:             # raises `packages.Missing`
        remote.fill("INBOX.Sent", 3)    # all folders are below INBOX, a dot is between levels

Used as `remote.Remote` is. No Debian has it beside dovecot-imapd, so it runs from the tree of
`packages`, as Debian's user mail.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

from bed import run
from packages import environment, unpacked
from remote import PASSWORD, USER, Remote

ACCOUNT = "mail"
PROGRAM = "usr/lib/cyrus/bin/imapd"
IMAPD = """\
configdirectory: {root}/conf
defaultpartition: default
partition-default: {root}/mail
cyrus_user: {account}
altnamespace: no
unixhierarchysep: no
virtdomains: userid
allowplaintext: yes
failedloginpause: 0
autocreate_quota: 0
autocreate_users: anyone
sasl_mech_list: LOGIN
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {root}/sasldb
tls_server_cert: {root}/cert.pem
tls_server_key: {root}/key.pem
"""
MASTER = """\
START {{
}}
SERVICES {{
  imap cmd="{imapd} -C {root}/imapd.conf" listen="127.0.0.1:{port}" prefork=0
  imaps cmd="{imapd} -s -C {root}/imapd.conf" listen="127.0.0.1:{tls_port}" prefork=0
}}
EVENTS {{
}}
"""


class Cyrus(Remote):
    def __init__(self) -> None:
        self.tree = unpacked(PROGRAM, "cyrus-imapd", "sasl2-bin")
        super().__init__()

    def _prepare(self) -> None:
        values = {"root": self.root, "port": self.port, "tls_port": self.tls_port}
        (self.root / "imapd.conf").write_text(IMAPD.format(account=ACCOUNT, **values))
        text = MASTER.format(imapd=self.tree / PROGRAM, **values)
        (self.root / "cyrus.conf").write_text(text)
        for name in ("mail", "conf/db", "conf/proc", "conf/socket"):
            (self.root / name).mkdir(parents=True)
        name, _, realm = USER.partition("@")
        command = ("saslpasswd2", "-c", "-p", "-f", self.root / "sasldb", "-u", realm, name)
        run(*command, stdin=PASSWORD, env=environment(self.tree))
        for path in (self.root, *self.root.rglob("*")):
            shutil.chown(path, ACCOUNT, ACCOUNT)

    def _launch(self, **options: Any) -> subprocess.Popen[bytes]:
        command = [self.tree / "usr/lib/cyrus/bin/master", "-D", "-p", self.root / "pid"]
        command += ["-C", self.root / "imapd.conf", "-M", self.root / "cyrus.conf"]
        options |= {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": ()}
        return subprocess.Popen(command, env=environment(self.tree), **options)

    def state(self) -> dict[str, bytes]:
        """By folder: what would tell that a message or a flag was touched."""
        items = "(MESSAGES RECENT UNSEEN UIDNEXT UIDVALIDITY HIGHESTMODSEQ)"
        with self.imap() as client:
            folders = [line.split(b'"." ')[1].decode() for line in client.list()[1]]
            return {name: client.status(name, items)[1][0] for name in folders}
