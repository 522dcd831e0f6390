"""`mailapi sandbox`: what it prints works as it stands, and however it ends, nothing is left."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bed import poll

pytestmark = pytest.mark.peers
LAST = "changes the password\n"  # of what is printed


class Sandbox:
    """The command as a terminal starts it; `said` is its standard output."""

    def __init__(self, logs: Path, *arguments: str | Path) -> None:
        self.logs, self.out, self.err = logs, logs / "out", logs / "err"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mailapi", "sandbox", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=os.environ | {"TMPDIR": str(logs), "MAILAPI_SERVER__PORT": "1"},
                process_group=0,
            )

    @property
    def said(self) -> str:
        return self.out.read_text()

    def started(self) -> Path:
        """Wait until it has; its directory."""
        poll(lambda: self.said.endswith(LAST) or self.gone(), 40, "the commands")
        assert self.process.returncode is None, self.err.read_text()
        return Path(re.search(r"^# (/\S+)$", self.said, re.M)[1])

    def gone(self) -> bool:
        return self.process.poll() is not None

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """As the terminal does it: the whole foreground process group; the exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        return self.process.wait(30)

    def ports(self) -> list[int]:
        return [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)$", self.said, re.M)]

    def child(self, word: str) -> int:
        """The pid of the server whose command has this word."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        (found,) = [
            int(pid)
            for pid in pids.split()
            if word in Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        ]
        return found


@pytest.fixture
def sandbox(short: Path) -> Iterator[Callable[..., Sandbox]]:
    """Starts one; at the end it is interrupted, if it still runs."""
    begun: list[Sandbox] = []

    def start(*arguments: str | Path) -> Sandbox:
        logs = short / str(len(begun))
        logs.mkdir()
        begun.append(Sandbox(logs, *arguments))
        return begun[-1]

    yield start
    for each in begun:
        each.interrupt()


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a short name, which every user may enter."""
    with tempfile.TemporaryDirectory(prefix="sb-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def of(root: Path) -> list[str]:
    """The processes that have to do with the directory: by arguments, environment or files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            links = [process / "cwd", process / "root", *(process / "fd").iterdir()]
            about = [(process / "cmdline").read_bytes(), (process / "environ").read_bytes()]
            for link in links:
                with contextlib.suppress(OSError):
                    about.append(os.fsencode(link.readlink()))
            if any(os.fsencode(root) in each for each in about):
                found.append(f"{process.name} {about[0]!r}")
    return found


def nothing_left(root: Path) -> None:
    """Neither processes nor the directory; what is killed may take a moment to be gone."""
    poll(lambda: not of(root), 5, f"the end of {of(root)}")
    assert not root.exists()


def test_the_commands_work_as_printed(sandbox):
    """Pasted into sh they make a mailbox, send to it, read it; Ctrl-C leaves nothing behind."""
    one = sandbox()
    root = one.started()
    assert len(of(root)) > 5
    done = subprocess.run(
        ["sh", "-e"], input=one.said, capture_output=True, text=True, cwd="/", timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count('"applied": true') == 2
    assert re.search(r"^Subject: Hello\r?$(.|\n)*^It works\.\r?$", done.stdout, re.M)
    assert re.search(r"^Subject: To myself\r?$", done.stdout, re.M)
    assert re.search(r"^ann@example\.com +Ann +100 +yes", done.stdout, re.M)
    ports = one.ports()
    assert len(ports) == 3
    assert one.interrupt() == 0
    assert not list(one.logs.glob("mailapi-*"))
    nothing_left(root)
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_no_mail_leaves(sandbox):
    """Mail to another host stays in the queue of the sandbox."""
    one = sandbox()
    root = one.started()
    log = root / "postfix.log"
    setup, _, rest = one.said.partition("# Send it")
    send = next(line for line in rest.splitlines() if "$SUBMISSION" in line)
    send = send.replace("--mail-rcpt ann@example.com", "--mail-rcpt bob@example.net")
    subprocess.run(["sh", "-e"], input=f"{setup}\n{send}\n", text=True, check=True)
    poll(lambda: "status=deferred" in log.read_text(), what="a deferred message")
    assert "relay=none" in log.read_text()


def test_a_named_directory(sandbox, short):
    """It lies in an empty DIR that is named, alone; DIR stays, and what others put there."""
    root = short / "dir"
    root.mkdir()
    one = sandbox(root)
    assert one.started() == root
    (root / "notes").write_text("mine")
    two = sandbox(root)
    assert two.process.wait(20) == 1
    assert "Another sandbox runs in DIR" in two.err.read_text()
    assert one.interrupt(signal.SIGTERM) == 0
    assert [path.name for path in root.iterdir()] == ["notes"]
    poll(lambda: not of(root), 5, "the end of its processes")


def test_a_directory_with_something_in_it(sandbox, short):
    """A DIR with files of others is refused, and stays as it was."""
    root = short / "dir"
    (root / "mail").mkdir(parents=True)
    one = sandbox(root)
    assert one.process.wait(20) == 1
    assert "DIR is not empty" in one.err.read_text()
    assert [path.name for path in root.iterdir()] == ["mail"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
@pytest.mark.parametrize("sign", ["tls", "start.log", "mailapi.log"])
def test_ended_while_it_starts(sandbox, short, number, sign):
    """However early it is interrupted or killed, its processes and files go."""
    root = short / "dir"
    one = sandbox(root)
    poll(lambda: (root / sign).exists(), 20, sign)
    code = one.interrupt(number)
    assert code == (0 if number == signal.SIGINT else -number), one.err.read_text()
    poll(lambda: not root.exists(), 5, "the end of the directory")
    nothing_left(root)


def test_killed(sandbox):
    """kill -9 takes the servers with it, within five seconds."""
    one = sandbox()
    root = one.started()
    one.interrupt(signal.SIGKILL)
    poll(lambda: not root.exists(), 5, "the end of the directory")
    nothing_left(root)


def test_what_a_killed_one_has_left(sandbox, short):
    """Where the watchdog was killed, too, the next sandbox in DIR clears up before it begins."""
    root = short / "dir"
    one = sandbox(root)
    one.started()
    servers = [one.child(word) for word in ("master", "dovecot", "serve")]
    os.kill(one.child("watchdog"), signal.SIGKILL)
    one.interrupt(signal.SIGKILL)
    for server in servers:
        os.killpg(server, signal.SIGKILL)
    assert (root / "mail").exists()
    two = sandbox(root)
    assert two.started() == root
    assert two.interrupt() == 0
    assert not list(root.iterdir())


@pytest.mark.parametrize(
    ("word", "name"), [("master", "postfix"), ("dovecot", "dovecot"), ("serve", "mailapi")]
)
def test_a_server_ends(sandbox, word, name):
    """If one of its servers ends, the sandbox says which, and ends with nothing left."""
    one = sandbox()
    root = one.started()
    os.kill(one.child(word), signal.SIGKILL)
    assert one.process.wait(30) == 1
    assert one.err.read_text().startswith(f"mailapi: {name} has ended, so the sandbox ends.")
    nothing_left(root)
