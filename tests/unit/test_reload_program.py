"""systemd/mailapi-reload: does its three jobs, one after the other, and nothing else for anybody.

The program runs as it is, in a process of its own; Postfix and Dovecot are scripts that write down
how they were called, and its times are shorter.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mailapi import addresses, resources

PROGRAM = resources.path("systemd", "mailapi-reload")
DRIVER = """
import importlib.machinery, importlib.util, json, os, sys
loader = importlib.machinery.SourceFileLoader("reload", sys.argv[1])
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("reload", loader))
loader.exec_module(module)
for name, value in json.loads(sys.argv[2]).items():
    assert hasattr(module, name)
    setattr(module, name, value)
os.dup2(int(sys.argv[3]), 3)
os.close(int(sys.argv[3]))
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", SECRET="geheim")
sys.exit(module.main())
"""
FAKE = """#!/bin/sh
mkdir {here}/busy || touch {here}/overlap
echo "$0 $*" | sed 's|.*/||' >>{here}/calls
echo "$#" >>{here}/counts
tr '\\0' '\\n' </proc/$$/environ >{here}/environment
rc=0
case "$*" in
*slow*) sleep 0.3 ;;
*hang*) rmdir {here}/busy; sleep 300 & echo $! >{here}/pid; wait ;;
*nobody*) echo "no users kicked"; rc=68 ;;
*broken*) echo "geheim $*"; echo "geheim $*" >&2; seq 5000; rc=75 ;;
*-f*shared*) ;;
*shared*)
    for i in $(seq 200); do echo "user$i@example.com "; done
    echo "warning: other connections would also be kicked from following users:" ;;
esac
rmdir {here}/busy
exit $rc
"""
KICK = b"kick ann@example.com\n"


def wait(true: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := true()):
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)
    return result


def is_alive(pid: int) -> bool:
    """A dead process that its parent has not reaped is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Reload:
    """The running program, and what it has done."""

    def __init__(self, here: Path, **settings: object) -> None:
        self.here = here
        self.clients: list[socket.socket] = []
        for name in ("postfix", "doveadm"):
            (here / name).write_text(FAKE.format(here=here))
            (here / name).chmod(0o700)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(here / "socket"))
        listener.listen(500)
        programs = {"POSTFIX": str(here / "postfix"), "DOVEADM": str(here / "doveadm")}
        arguments = [str(PROGRAM), json.dumps(programs | settings), str(listener.fileno())]
        with listener, (here / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-B", "-c", DRIVER, *arguments],
                pass_fds=(listener.fileno(),),
                stderr=log,
            )

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        self.clients.append(client)
        client.settimeout(20)
        client.connect(str(self.here / "socket"))
        return client

    def ask(self, line: bytes) -> bytes:
        with self.connect() as client:
            client.sendall(line)
            return heard(client)

    def read(self, name: str) -> list[str]:
        file = self.here / name
        return file.read_text().splitlines() if file.exists() else []

    @property
    def calls(self) -> list[str]:
        return self.read("calls")

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


def heard(client: socket.socket) -> bytes:
    """All that comes until the end; an end by force is an end."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(4096):
            said += data
    return said


Start = Callable[..., Reload]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Reload] = []

    def start(**settings: object) -> Reload:
        running.append(Reload(tmp_path, **settings))
        return running[-1]

    yield start
    for reload in running:
        for client in reload.clients:
            client.close()
        reload.process.kill()
        reload.process.wait()


@pytest.fixture(scope="module")
def module() -> ModuleType:
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader = importlib.machinery.SourceFileLoader("reload", str(PROGRAM))
    spec = importlib.util.spec_from_loader("reload", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


@pytest.mark.parametrize(
    ("request_", "calls"),
    [
        (b"reload postfix\n", ["postfix reload"]),
        (b"reload dovecot\n", ["doveadm reload"]),
        (KICK, ["doveadm kick -- ann@example.com"]),
        (b"kick -all@example.com\n", ["doveadm kick -- -all@example.com"]),
        (b"kick o'hara_1.x@xn--mnchen-3ya.example\n", None),
        (b"kick nobody@example.com\n", ["doveadm kick -- nobody@example.com"]),
        (
            b"kick shared@example.com\n",
            ["doveadm kick -- shared@example.com", "doveadm kick -f -- shared@example.com"],
        ),
    ],
)
def test_its_three_jobs(start: Start, request_: bytes, calls: list[str] | None) -> None:
    """Each request runs its program with these words; 68 is nobody there; 2.3 may need -f."""
    reload = start()
    assert reload.ask(request_) == b"ok\n"
    assert reload.calls == (calls or [f"doveadm kick -- {request_[5:-1].decode()}"])


def test_programs_get_nothing_of_ours(start: Start) -> None:
    """Their environment is PATH and LANG (and what a shell adds), and no argument is empty."""
    reload = start()
    reload.ask(KICK)
    names = {line.partition("=")[0] for line in reload.read("environment")}
    assert {"PATH", "LANG"} <= names <= {"PATH", "LANG", "PWD", "OLDPWD", "SHLVL", "_"}
    assert reload.read("counts") == ["3"]


def test_postfix_is_reloaded_once_its_old_processes_are_gone(start: Start, tmp_path: Path) -> None:
    """`postfix reload` returns early; the answer comes when no old child of master(8) is left."""
    script = "import subprocess; subprocess.Popen(['sleep', '0.6']).wait(); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as master:
        file = Path(f"/proc/{master.pid}/task/{master.pid}/children")
        wait(lambda: file.read_text())
        child = int(file.read_text())
        (tmp_path / "master.pid").write_text(f"{master.pid:>10}\n")
        reload = start(MASTER=str(tmp_path / "master.pid"), LEAVING=10)
        assert reload.ask(b"reload postfix\n") == b"ok\n"
        assert not is_alive(child)
        master.kill()


def test_a_busy_process_of_postfix_is_not_waited_for(start: Start, tmp_path: Path) -> None:
    """An smtpd(8) in the middle of a session stays; the answer comes all the same."""
    script = "import subprocess; subprocess.Popen(['sleep', '30']).wait()"
    with subprocess.Popen([sys.executable, "-c", script]) as master:
        file = Path(f"/proc/{master.pid}/task/{master.pid}/children")
        wait(lambda: file.read_text())
        child = int(file.read_text())
        (tmp_path / "master.pid").write_text(str(master.pid))
        reload = start(MASTER=str(tmp_path / "master.pid"), LEAVING=0.1)
        assert reload.ask(b"reload postfix\n") == b"ok\n"
        assert is_alive(child)
        os.kill(child, signal.SIGKILL)


def test_a_failure_is_told_without_the_programs_words(start: Start) -> None:
    """The answer has the exit status; what was said is in the log, cut off."""
    reload = start()
    assert reload.ask(b"kick broken@example.com\n") == b"failed status 75\n"
    assert "geheim" in " ".join(reload.read("log"))
    assert all(len(line) < 1400 for line in reload.read("log"))


def test_a_program_that_is_missing(start: Start) -> None:
    """That is answered, and the next request is served."""
    reload = start(POSTFIX="/nonexistent/postfix")
    assert reload.ask(b"reload postfix\n") == b"failed start\n"
    assert reload.ask(KICK) == b"ok\n"


def test_a_program_that_hangs_is_killed(start: Start) -> None:
    """Its whole group is, at the time limit, and the next request is served."""
    reload = start(RUNNING=0.5)
    assert reload.ask(b"kick hang@example.com\n") == b"failed timeout\n"
    (pid,) = reload.read("pid")
    wait(lambda: not is_alive(int(pid)))
    assert reload.ask(KICK) == b"ok\n"


def test_programs_run_one_after_the_other(start: Start) -> None:
    """Of twelve requests at once no program begins before the one before it has ended."""
    reload = start()
    clients = [reload.connect() for _ in range(12)]
    for client in clients:
        client.sendall(b"kick slow@example.com\n" if client is clients[0] else KICK)
    assert [heard(client) for client in clients] == [b"ok\n"] * 12
    assert len(reload.calls) == 12
    assert not (reload.here / "overlap").exists()


def test_it_leaves_when_idle(start: Start) -> None:
    """Exit status 0 after a time without connections; not while one is open."""
    reload = start(IDLE=0.3, READING=1.5)
    with reload.connect() as client:
        assert heard(client) == b"failed late\n"
        assert reload.process.poll() is None
    assert reload.process.wait(20) == 0


def test_it_is_no_command() -> None:
    """Without systemd's socket it says who starts it, exits 1 and does nothing."""
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    done = subprocess.run(
        [python, "-IS", PROGRAM], env={"LISTEN_FDS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "mailapi-reload.socket" in done.stderr


ADDRESSES = [
    b"", b"*", b"*@example.com", b"?@example.com", b"ann@*", b"ann", b"@example.com", b"ann@",
    b"ann@example", b"ann@@example.com", b"a@b@example.com", b"ann@.example.com", b"-f", b"--",
    b"-a/tmp/x", b"--help", b"-f ann@example.com", b"ann@example.com -f", b"ann@example.com ",
    b" ann@example.com", b"ann@example.com bob@example.com", b"ann@example.com,bob@example.com",
    b"ann@example.com;touch owned", b"$(touch owned)@example.com", b"`touch owned`@example.com",
    b"ann@example.com|touch owned", b"ann@example.com&", b"ann>owned@example.com", b"a\\nn@e.com",
    b"ann@example.com\r", b"ann@example.com\0", b"a\0nn@example.com", b"ann@example.com\t",
    b"\"ann\"@example.com", b"ann@[127.0.0.1]", b"127.0.0.1", b"10.0.0.0/8", b"::1/0", b"a+b@e.com",
    b"a%b@example.com", b"%u@example.com", b"../x@example.com", b"a/b@example.com",
    b"!@example.com",
    b"Ann@example.com", b"ann@Example.com", b"ann@example.com.", b".ann@example.com",
    b"a..b@example.com", b"ann.@example.com", b"ann@-example.com", b"ann@example-.com",
    "änn@example.com".encode(), "ann@münchen.de".encode(), b"a" * 65 + b"@example.com",
    b"a@" + b"b." * 126 + b"com", b"ann@" + b"b" * 64 + b".com", b"ann@example.com\nreload postfix",
    b"a=b@example.com", b"{a}@example.com", b"~@example.com", b"#@example.com", b"<a@example.com>",
]  # fmt: skip
LINES = [
    b"", b" ", b"\0", b"ok", b"help", b"reload", b"reload ", b"reload  postfix", b" reload postfix",
    b"reload postfix ", b"reload postfix\r", b"reload postfix dovecot", b"reload nginx",
    b"reload *", b"reload ../postfix", b"reload postfix;id", b"RELOAD POSTFIX", b"Reload postfix",
    b"reload\tpostfix", b"reload\0postfix", b"reload postfix\0", b"restart postfix",
    b"stop dovecot", b"start postfix", b"flush postfix", b"check postfix", b"status", b"kick",
    b"kick ", b"kick\tann@example.com", b"kick  ann@example.com", b"kickann@example.com",
    b"exec id", b"sh -c id", b"/bin/sh", b"who", b"-- kick ann@example.com",
    b"KICK ann@example.com",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r", b"kick ann@example.com\nkick bob@example.com", b"\xff\xfe",
    b"reload postfix\n\n", b"A" * 511, b"A" * 512, b"A" * 513, b"A" * 5000, b"\0" * 1000,
    b"kick " + b"a" * 600 + b"@example.com", b"kick ann@example.com" + b" " * 500, b"\x16\x03\x01",
]  # fmt: skip


def hostile() -> list[bytes]:
    dice = random.Random(3)
    noise = [dice.randbytes(dice.randrange(1, 700)).replace(b"\n", b"") for _ in range(50)]
    return [line + b"\n" for line in [*LINES, *(b"kick " + a for a in ADDRESSES), *noise]]


def test_hostile_lines_are_refused(start: Start) -> None:
    """Each gets one and the same answer, none starts a program, and it serves on."""
    reload = start()
    assert reload.ask(KICK) == b"ok\n"
    before = reload.descriptors()
    for line in hostile():
        with reload.connect() as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(line)
            assert heard(client) == b"failed request\n", line[:80]
    wait(lambda: reload.descriptors() == before)
    assert reload.ask(b"reload postfix\n") == b"ok\n"
    assert reload.calls == ["doveadm kick -- ann@example.com", "postfix reload"]
    assert not list(reload.here.rglob("owned"))
    assert not Path("owned").exists()


def test_hostile_clients_stop_nothing(start: Start) -> None:
    """200 at once (silent, slow, half-closed, gone, refused): a good one is served meanwhile."""
    reload = start(READING=300)
    assert reload.ask(KICK) == b"ok\n"
    before = reload.descriptors()
    silent, slow, half, refused = ([reload.connect() for _ in range(40)] for _ in range(4))
    for number, client in enumerate(half):
        client.sendall(b"kick ann@exam" if number % 2 else b"")
        client.shutdown(socket.SHUT_WR)
    for client in refused:
        client.sendall(b"\xff" * 400 + b"\n")
    for number in range(40):
        with reload.connect() as gone:
            gone.sendall(b"kick bob@example.com" if number % 2 else b"nonsense\n")
    for byte in b"kick ann\n":
        for client in slow:
            client.sendall(bytes([byte]))
        assert reload.ask(KICK) == b"ok\n"
    assert {heard(client) for client in slow + half + refused} == {b"failed request\n"}
    for client in silent + slow + half + refused:
        client.close()
    wait(lambda: reload.descriptors() == before)
    assert reload.ask(KICK) == b"ok\n"
    assert set(reload.calls) == {"doveadm kick -- ann@example.com"}
    assert reload.process.poll() is None


def test_a_byte_now_and_then_is_late(start: Start) -> None:
    """The whole line has its time; more bytes do not lengthen it."""
    reload = start(READING=0.5)
    client = reload.connect()
    with contextlib.suppress(BrokenPipeError):
        for byte in KICK * 20:
            client.sendall(bytes([byte]).replace(b"\n", b"x"))
            time.sleep(0.05)
    assert heard(client) == b"failed late\n"
    assert not reload.calls


def test_too_many_clients_push_out_the_oldest(start: Start) -> None:
    """A new connection is always taken; the one that has waited longest is answered `late`."""
    reload = start(MOST=5, READING=60)
    clients = [reload.connect() for _ in range(6)]
    assert heard(clients[0]) == b"failed late\n"
    assert reload.ask(KICK) == b"ok\n"
    clients[5].sendall(KICK)
    assert heard(clients[5]) == b"ok\n"


def test_time_that_a_program_takes_is_no_clients_lateness(start: Start) -> None:
    """Who sends its line while another's program runs is served, though the limit has passed."""
    reload = start(READING=0.2)
    first, second = reload.connect(), reload.connect()
    first.sendall(b"kick slow@example.com\n")
    wait(lambda: reload.calls)
    sender = threading.Timer(0.1, second.sendall, (KICK,))
    sender.start()
    assert heard(second) == b"ok\n"
    sender.join()


@given(st.from_regex(r"[a-z0-9_'.-]{1,66}@[a-z0-9.-]{1,40}", fullmatch=True))
def test_it_takes_every_mailbox(module: ModuleType, text: str) -> None:
    """Each address that a mailbox can have is in its grammar."""
    with contextlib.suppress(ValueError):
        assume(addresses.address(text) == text)
        assert module.KICK.fullmatch(f"kick {text}\n".encode())


def test_it_takes_the_longest_mailbox(module: ModuleType) -> None:
    """64 octets before the @, 254 in all; not one more."""
    longest = "a" * 64 + "@" + ".".join(("b" * 63, "c" * 63, "d" * 57, "com"))
    assert len(addresses.address(longest)) == 254
    assert module.KICK.fullmatch(f"kick {longest}\n".encode())
    assert not module.KICK.fullmatch(f"kick {longest[:-3]}info\n".encode())
    assert not module.KICK.fullmatch(f"kick {'a' * 65}@example.com\n".encode())
