"""The files and directories: owners, modes, and whether they hold what the state says.

Drift is shown as a diff, a line of it for each entry, with `(hash)` in place of password hashes.
"""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..setup import plan
from ..setup.host import Host
from ..setup.steps import Directory
from .finding import Finding, Patient, judge

HASH: Final = re.compile(rb"(?<=:)\{[A-Z0-9-]+\}[^:]*")
MOST: Final = 20  # lines of a diff


def check(patient: Patient) -> Iterator[Finding]:
    yield from _directories(patient)
    yield from _private(patient)
    yield from _drift(patient)


def _directories(patient: Patient) -> Iterator[Finding]:
    host, bad = patient.host, 0
    steps = [step for step in plan.directories(patient.config) if step.holds != "files"]
    for step in steps:
        if step.pending(host):
            bad += 1
            yield Finding(
                f"directory {step.path}", "wrong", _owner(host, step.path),
                f"{step.owner}:{step.group} {step.mode:04o}", _mend(step),
            )  # fmt: skip
    if not bad:
        yield Finding("directories", "ok", f"{len(steps)} have their owners and modes")


def _mend(step: Directory) -> str:
    return (
        f"install -d -o {step.owner} -g {step.group} -m {step.mode:04o} "
        f"{shlex.quote(str(step.path))}"
    )


def _owner(host: Host, path: Path) -> str:
    image = host.image(path)
    if image.kind == "absent":
        return "not there"
    users = {fields[2]: name for name, fields in host.accounts("passwd").items()}
    groups = {fields[2]: name for name, fields in host.accounts("group").items()}
    user, group = (
        users.get(str(image.uid), str(image.uid)),
        groups.get(str(image.gid), str(image.gid)),
    )
    return f"{user}:{group} {image.mode:04o}"


def _private(patient: Patient) -> Iterator[Finding]:
    """What holds password hashes or keys is closed to others."""
    config, host = patient.config, patient.host
    users = config.dovecot.directory / "users"
    group = host.accounts("group").get("dovecot", ["", "", "-1"])[2]
    for path, groups in ((users, {group}), (config.state.directory / "mailapi.db", set())):
        image = host.image(path)
        if image.kind == "absent":
            mend = "systemctl restart mailapi"
            yield Finding(f"secrets in {path}", "wrong", "not there", "a file", mend)
            continue
        shared = image.mode & (stat.S_IRGRP | stat.S_IWGRP) and str(image.gid) not in groups
        good = not image.mode & 0o007 and not shared
        should = "readable for mailapi and dovecot alone" if groups else "for mailapi alone"
        mend = f"chmod {'0640' if groups else '0600'} {shlex.quote(str(path))}"
        if shared and groups:
            mend = f"chgrp dovecot {shlex.quote(str(path))}"
        yield judge(f"secrets in {path}", good, _owner(host, path), should, mend)


def _drift(patient: Patient) -> Iterator[Finding]:
    """Every file holds what the state says."""
    bad = 0
    for name, wished in patient.wished.items():
        server, _, file = name.partition("/")
        section = patient.config.postfix if server == "postfix" else patient.config.dovecot
        path = section.directory / file
        try:
            has = patient.host.read(path)
        except OSError:
            has = b""
        if has != wished:
            bad += 1
            diff = "\n".join(difference(has, wished))
            yield Finding(f"drift in {path}", "wrong", diff, "what the state says", "mailapi apply")
    if patient.wished and not bad:
        yield Finding("drift", "ok", f"{len(patient.wished)} files hold what the state says")


def difference(has: bytes, wished: bytes) -> list[str]:
    """`-` what is there, `+` what is missing; never a hash."""
    ours = set(has.splitlines()), set(wished.splitlines())
    both = ours[0] & ours[1]
    old = [_masked(line) for line in has.splitlines() if line not in both]
    new = [_masked(line) for line in wished.splitlines() if line not in both]
    lines = [f"-{line}" for line in old] + [f"+{line}" for line in new]
    if not lines:
        lines = ["the lines are in another order"]
    rest = len(lines) - MOST
    return lines[:MOST] + ([f"and {rest} more lines"] if rest > 0 else [])


def _masked(line: bytes) -> str:
    return HASH.sub(b"(hash)", line).decode("ascii", "replace")
