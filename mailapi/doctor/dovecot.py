"""Dovecot: does it read our users, and nobody else's, and does it know them?

doveconf(1), doveadm-user(1).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .. import serverconfig
from ..setup.conflicts import PASSDB
from ..setup.found import DOVECOT
from .finding import Finding, Patient, judge, sample

CONF: Final = DOVECOT / "conf.d" / "90-mailapi.conf"
MEND: Final = "mailapi init --apply"
RELOAD: Final = "doveadm reload"


def check(patient: Patient) -> Iterator[Finding]:
    said = patient.host.ask("doveconf", "-n")
    if said is None:
        yield Finding(
            "dovecot settings", "wrong", "doveconf -n fails", "it can be read", "doveconf -n"
        )
        return
    yield _file(patient)
    yield from _databases(patient, said)
    yield from _users(patient)


def _file(patient: Patient) -> Finding:
    """Ours is as this version would write it."""
    should = serverconfig.dovecot(patient.config)
    good = patient.host.text(CONF) == should
    mend = f"mailapi config dovecot > {CONF} && {RELOAD}"
    found = f"{CONF} is {'ours' if good else 'another, or not there'}"
    return judge("dovecot settings", good, found, "the output of mailapi config dovecot", mend)


def _databases(patient: Patient, said: str) -> Iterator[Finding]:
    ours = str(patient.config.dovecot.directory / "users")
    for kind in ("passdb", "userdb"):
        blocks = [block for found, _, block in PASSDB.findall(said) if found == kind]
        mine = [block for block in blocks if ours in block]
        found = f"{len(mine)} of {len(blocks)} read {ours}"
        yield judge(f"dovecot {kind}", bool(mine), found, "one does", f"{MEND}; {RELOAD}")
        if len(blocks) > len(mine):
            yield Finding(
                f"dovecot other {kind}",
                "note",
                f"there is another {kind}: accounts that mailapi does not know can log in",
                "ours alone",
                f"comment its !include out in {DOVECOT}/conf.d/10-auth.conf && {RELOAD}",
            )


def _users(patient: Patient) -> Iterator[Finding]:
    """doveadm(1) knows a sample of the users, with their home."""
    chosen = [name.replace("\\'", "'") for name in sample(patient.keys("dovecot/users"))]
    bad = 0
    for address in chosen:
        should = _home(patient.config.dovecot.mail_home, address)
        has = patient.host.ask("doveadm", "user", "-f", "home", address)
        if has is None or Path(has) != should:
            bad += 1
            what = f"doveadm user {address}: {has or 'nobody'}"
            mend = "mailapi apply; journalctl -u dovecot"
            yield Finding("dovecot users", "wrong", what, f"home {should}", mend)
    if not bad:
        yield Finding("dovecot users", "ok", f"doveadm user knows {len(chosen)} of {len(chosen)}")


def _home(template: str, address: str) -> Path:
    local, _, domain = address.partition("@")
    for sign, value in (("%d", domain), ("%n", local), ("%u", address)):
        template = template.replace(sign, value)
    return Path(template)
