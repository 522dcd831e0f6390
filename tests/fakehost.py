"""A host of files alone: a root directory, the real useradd(8) and its kin, and no servers.

    host = FakeHost(tmp_path)           with what Debian's packages put there
    host.steps()                        the plan for it
    host.tree()                         every path with its mode, owner and content
    host.fails_at = 7                   the process ends at its 7th act, as by kill -9

Programs other than the accounts' are not run; `ran` tells which would have been.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from mailapi.setup import plan
from mailapi.setup.found import Found
from mailapi.setup.host import Host, Image

ACTS = {"stage", "sync", "remove", "link", "make_directory", "own", "own_all", "remove_directory",
        "run"}  # fmt: skip
PASSWD = "root:x:0:0:root:/root:/bin/bash\npostfix:x:101:103::/var/spool/postfix:/bin/false\n"
GROUP = "root:x:0:\npostfix:x:103:\ndovecot:x:104:\n"
PROGRAM = Path("/opt/mailapi/bin/mailapi")
FOUND = Found("3.7.11", "2.3.19", "252", "", "", "mail.example.net", PROGRAM)
AUTH = "/etc/dovecot/conf.d/10-auth.conf"


class FakeHost(Host):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ran: list[str] = []
        self.fails_at = 0
        self.acts = 0

    def furnish(self) -> FakeHost:
        files = {
            "/etc/passwd": PASSWD,
            "/etc/passwd-": PASSWD.splitlines()[0] + "\n",
            "/etc/group": GROUP,
            "/etc/shadow": "root:*:20000:0:99999:7:::\npostfix:!:20000::::::\n",
            "/etc/gshadow": "root:*::\npostfix:!::\ndovecot:!::\n",
            "/etc/postfix/main.cf": "myhostname = mail.example.net\n",
            "/etc/postfix/master.cf": "smtp inet n - y - - smtpd\n",
            AUTH: "# Debian's\n!include auth-system.conf.ext\n#!include auth-sql.conf.ext\n",
            "/etc/systemd/system/multi-user.target.wants/other": "",
            "/usr/local/sbin/other": "",
        }
        for name, text in files.items():
            path = self.real(Path(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.real(Path("/etc/shadow")).chmod(0o640)
        self.real(Path("/var/lib")).mkdir(parents=True)
        return self

    def plan(self) -> plan.Plan:
        conf = {
            Path("/etc/postfix", name): f"{name} with our settings\n".encode()
            for name in ("main.cf", "master.cf")
        }
        return plan.make(self, FOUND, conf)

    def run(self, *argv: str, stdin: str = "", **environment: str) -> str:
        if argv[0] in ("useradd", "groupadd", "userdel", "groupdel"):
            return super().run(*argv)
        self.ran.append(" ".join(argv))
        return ""

    def tree(self) -> dict[str, Image]:
        """Without the lock files of useradd(8)."""
        paths = ("/" / path.relative_to(self.root) for path in self.root.rglob("*"))
        return {str(p): self.image(p) for p in paths if not p.name.endswith((".lock", ".pwd.lock"))}

    def __getattribute__(self, name: str) -> object:
        if name in ACTS and self.fails_at:
            self.acts += 1
            if self.acts == self.fails_at:
                os._exit(9)
        return super().__getattribute__(name)


def dies(host: FakeHost, act: int, work: object) -> bool:
    """Do `work` in a process that ends at its act number `act`; False if it ended before that."""
    pid = os.fork()
    if pid == 0:
        host.fails_at = act
        try:
            work()  # type: ignore[operator]  # a function without arguments
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 9), status
    return status == 9


def has_useradd() -> bool:
    return os.geteuid() == 0 and subprocess.run(["sh", "-c", "command -v useradd"],
                                               capture_output=True).returncode == 0  # fmt: skip
