"""All checks, in turn.

    findings = examine(config)          the checks' findings, in their order

A check that fails itself is a finding, too. Needs root: it looks into private directories.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Final

from .. import local
from ..config import Config
from ..errors import Forbidden, MailapiError
from ..setup.host import Host
from . import dovecot, files, postfix, system
from .finding import Check, Finding, Patient

CHECKS: Final[dict[str, Check]] = {
    "system": system.check,
    "files": files.check,
    "postfix": postfix.check,
    "dovecot": dovecot.check,
}
AGAIN, PAUSE = 3, 1.0  # a service at work changes the state first and the files then; seconds


def examine(config: Config, host: Host | None = None) -> list[Finding]:
    """Raise `Forbidden` for others than root."""
    if os.geteuid() != 0:
        raise Forbidden("Only root can look at all of this host; use sudo.")
    found: list[Finding] = []
    for _ in range(AGAIN):
        found = _once(config, host or Host())
        if not any(finding.check.startswith("drift in") for finding in found):
            break
        time.sleep(PAUSE)
    return found


def _once(config: Config, host: Host) -> list[Finding]:
    found: list[Finding] = []
    wished: Mapping[str, bytes] = {}
    try:
        wished = local.rendered(config)
    except MailapiError as error:
        found.append(Finding("state", "wrong", error.msg, "it can be read", "mailapi restore FILE"))
    patient = Patient(host, config, wished)
    for name, check in CHECKS.items():
        try:
            found += check(patient)
        except (MailapiError, OSError) as error:
            mend = "look at what it says"
            found.append(Finding(name, "wrong", str(error), "the check can be made", mend))
    return found
