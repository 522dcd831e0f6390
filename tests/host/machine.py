"""A Debian in a container: built once, copied, booted, and asked.

    tree("trixie")              -> the directory of a pristine Debian 13, cached
    wheelhouse("trixie", root)  -> the directory with our wheel and all that it needs, for it
    with Machine(pristine) as machine:
        machine.boot()
        machine.run("systemctl is-system-running --wait")
        machine.reboot()

Needs root, debootstrap and systemd-nspawn, and for the first time a mirror of Debian and of PyPI.
MAILAPI_HOST_CACHE is where trees are kept (default /var/cache/mailapi-host), MAILAPI_HOST_MIRROR
where Debian is fetched. The container has a network of its own, with nothing but a loopback.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("MAILAPI_HOST_CACHE", "/var/cache/mailapi-host"))
MIRROR = os.environ.get("MAILAPI_HOST_MIRROR", "http://deb.debian.org/debian")
DEBIAN = {"bookworm": "12", "trixie": "13"}
PACKAGES = [
    "systemd-sysv", "dbus", "adduser", "python3", "python3-venv", "postfix", "postfix-lmdb",
    "dovecot-core", "dovecot-imapd", "dovecot-lmtpd", "nginx-light", "curl", "ca-certificates",
    "ssl-cert", "iproute2", "procps", "isync",
]  # fmt: skip
# The console is read: systemd itself stops where nobody does, as soon as the terminal is full.
NSPAWN = "systemd-nspawn -q -b --register=no --keep-unit --private-network --console=read-only"
PATIENCE = 90.0  # seconds for a boot, or an end


def tree(suite: str) -> Path:
    """A pristine Debian, built if it is not there; nobody may change it."""
    mark = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:8]
    done = CACHE / f"{suite}-{mark}"
    if done.is_dir():
        return done
    CACHE.mkdir(parents=True, exist_ok=True)
    new = CACHE / f"{suite}.new"
    shutil.rmtree(new, ignore_errors=True)
    print(f"building {done} with debootstrap, which takes minutes", flush=True)
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, new]
    with (CACHE / f"{suite}.log").open("w") as log:
        subprocess.run(
            [*command, MIRROR], stdout=log, stderr=log, check=True,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        )  # fmt: skip
    name(new, f"host{DEBIAN[suite]}.example.net")
    new.rename(done)
    return done


def name(root: Path, hostname: str) -> None:
    """The packages' scripts took the name of the machine that built the tree."""
    (root / "etc/hostname").write_text(f"{hostname}\n")
    (root / "etc/mailname").write_text(f"{hostname}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {hostname} host\n")
    chroot(root, "postconf", "-e", f"myhostname = {hostname}")
    names = f"$myhostname, {hostname}, localhost.example.net, , localhost"
    chroot(root, "postconf", "-e", f"mydestination = {names}")


def chroot(root: Path, *command: str) -> str:
    return subprocess.run(
        ["chroot", root, *command], check=True, capture_output=True, text=True
    ).stdout


def wheelhouse(suite: str, root: Path) -> Path:
    """Our wheel, built from this checkout, and what it needs, fetched once."""
    version = chroot(root, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    house = CACHE / f"wheels-{suite}"
    house.mkdir(parents=True, exist_ok=True)
    for old in house.glob("mailapi-*"):
        old.unlink()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(house)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = house.glob("mailapi-*.whl")
    fetch = [
        sys.executable, "-m", "pip", "download", "--quiet", "--dest", house, "--find-links", house,
        "--only-binary=:all:", "--python-version", version.strip(), wheel,
    ]  # fmt: skip
    if not satisfied(house, wheel, version.strip()):
        subprocess.run(fetch, check=True)
    return house


def satisfied(house: Path, wheel: Path, version: str) -> bool:
    """Nothing has to be fetched."""
    check = [
        sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-index",
        "--find-links", house, "--only-binary=:all:", "--python-version", version,
        "--ignore-installed", "--target", "/nonexistent", wheel,
    ]  # fmt: skip
    environment = os.environ | {"PIP_FIND_LINKS": ""}
    return subprocess.run(check, capture_output=True, env=environment).returncode == 0


class Machine:
    """A copy of a tree, removed at the end; MAILAPI_HOST_KEEP leaves it.

    One at a time: with --keep-unit, containers share their control groups, and systemd waits for
    another one's processes when it stops a unit of the same name.
    """

    def __init__(self, pristine: Path) -> None:
        self.alone = (CACHE / "lock").open("w")
        fcntl.flock(self.alone, fcntl.LOCK_EX)
        self.root = Path(tempfile.mkdtemp(prefix="mailapi-host-", dir=CACHE)) / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", pristine, self.root], check=True)
        self.container: subprocess.Popen[bytes] | None = None
        self.leader = 0

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.halt()
        finally:
            self.kill()
        self.alone.close()
        if "MAILAPI_HOST_KEEP" in os.environ:
            print(f"{self.root} is kept")
        else:
            shutil.rmtree(self.root.parent, ignore_errors=True)

    def boot(self) -> None:
        """Until systemd says that all has started."""
        with (self.root.parent / "console.log").open("a") as log:
            self.container = subprocess.Popen(
                [*NSPAWN.split(), "-D", self.root], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, cwd="/",
                env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
        self.leader = until(self._leader, "the container has an init")
        until(lambda: self._up(), "it has booted")

    def _leader(self) -> int:
        """The container's first process, once it is systemd."""
        assert self.container is not None
        assert self.container.poll() is None, (self.root.parent / "console.log").read_text()
        pid = self.container.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return int(child)
        return 0

    def _up(self) -> bool:
        said = self.run("systemctl is-system-running", check=False).strip()
        return said in ("running", "degraded")

    def run(self, script: str, *, check: bool = True, quiet: bool = True) -> str:
        """What a shell script in the container says; both streams."""
        done = self.start(script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said, _ = done.communicate(timeout=600)
        if not quiet:
            print(said, end="", flush=True)
        if check and done.returncode:
            raise AssertionError(f"{script}\nexit status {done.returncode}\n{said}")
        return said

    def start(self, script: str, **options: object) -> subprocess.Popen[str]:
        """A shell script in the container, which is not waited for."""
        command = ["nsenter", "-t", str(self.leader), "-a", "sh", "-c", script]
        environment = {
            "PATH": "/opt/mailapi/venv/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
        }
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, **options)  # type: ignore[call-overload,no-any-return]  # options are those of text

    def halt(self) -> None:
        """An orderly end: SIGRTMIN+4 is poweroff; systemd(1)."""
        if self.container is None:
            return
        if self.container.poll() is None:
            os.kill(self.leader, signal.SIGRTMIN + 4) if self.leader else self.container.kill()
            self.container.wait(PATIENCE)
        self.container, self.leader = None, 0

    def kill(self) -> None:
        """With its init all of a container ends; its nspawn alone would leave it running."""
        if self.container is not None:
            os.kill(self.leader or self.container.pid, signal.SIGKILL)
            self.container.wait(PATIENCE)
            self.container = None

    def reboot(self) -> None:
        self.halt()
        self.boot()


def until(attempt, what: str, patience: float = PATIENCE):  # type: ignore[no-untyped-def]  # of any type
    """What `attempt` gives, as soon as it is something."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := attempt():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {patience:g} seconds: {what}")
