"""The host itself: units, service, hook, disk, clock, certificates.

systemctl(1), statvfs(3), timedatectl(1), x509(1ssl).
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .. import __version__, client
from ..errors import MailapiError
from ..setup import plan
from ..setup.found import program
from ..setup.steps import File
from .finding import Finding, Patient, judge

UNITS: Final = ("mailapi.service", "mailapi-reload.socket", "postfix.service", "dovecot.service")
SYNC: Final = "mailapi-sync.service"  # enabled where there is isync
FREE, FREE_SHARE = 200 * 1024 * 1024, 0.03  # octets, and of all; less of both is too little
SKEW: Final = 5.0  # seconds that a time on disk may lie in the future
EXPIRES: Final = 14  # days
WHEN: Final = "%b %d %H:%M:%S %Y %Z"


def check(patient: Patient) -> Iterator[Finding]:
    yield from _units(patient)
    yield from _installed(patient)
    yield _service(patient)
    yield _hook(patient)
    yield from _disk(patient)
    yield from _clock(patient)
    yield from _certificates(patient)


def _units(patient: Patient) -> Iterator[Finding]:
    enabled = patient.host.ask("systemctl", "is-enabled", SYNC) is not None
    for unit in (*UNITS, SYNC) if enabled else UNITS:
        said = [patient.host.ask("systemctl", what, unit) for what in ("is-active", "is-enabled")]
        found = (
            f"{'runs' if said[0] else 'does not run'}, {'enabled' if said[1] else 'not enabled'}"
        )
        mend = f"systemctl enable --now {unit}; journalctl -u {unit}"
        yield judge(f"unit {unit}", None not in said, found, "runs, enabled", mend)


def _installed(patient: Patient) -> Iterator[Finding]:
    """The units and the program are those of this version."""
    try:
        steps = plan.programs(program(Path(sys.prefix)), patient.config, sync=False)
    except MailapiError as error:
        yield Finding(
            "installed files", "wrong", error.msg, "below /opt or /usr/local", "see README"
        )
        return
    bad = [step for step in steps if isinstance(step, File) and step.pending(patient.host)]
    for step in bad:
        found = "not as this version has it"
        yield Finding(f"file {step.path}", "wrong", found, "this version's", "mailapi init --apply")
    if not bad:
        yield Finding("installed files", "ok", "units and mailapi-reload are this version's")


def _service(patient: Patient) -> Finding:
    mend = "systemctl restart mailapi; journalctl -u mailapi -n 20"
    if patient.config.server.admin_socket is None:
        mend = 'set [server] admin_socket = "/run/mailapi/admin.sock"; systemctl restart mailapi'
        return Finding("service", "note", "not asked: there is no admin_socket", "one", mend)
    try:
        said = client.request(client.of(patient.config, None), "GET", "/status?wait=5")
    except MailapiError as error:
        return Finding("service", "wrong", error.msg, "it answers", mend)
    if not said["applied"]:
        why = said.get("problem", {}).get("msg", "the generation is not live")
        return Finding("service", "wrong", why, "everything is live", "mailapi apply")
    found = f"version {said['version']} answers, generation {said['generation']} is live"
    good = said["version"] == __version__
    return judge("service", good, found, f"version {__version__}", "systemctl restart mailapi")


def _hook(patient: Patient) -> Finding:
    """The program behind the socket answers: it refuses what is no request."""
    where = patient.config.reload.socket
    if where is None:
        command = bool(patient.config.reload.command)
        found = f"[reload] has {'a command' if command else 'nothing'}"
        mend = f'set [reload] socket = "{plan.SOCKET}"; systemctl restart mailapi'
        return judge("reload hook", command, found, "a socket", mend, "note")
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(10)
            asking.connect(str(patient.host.real(where)))
            asking.sendall(b"doctor\n")
            said = asking.recv(512).decode("ascii", "replace").strip()
    except OSError as error:
        said = error.strerror or "no answer"
    good = said == "failed request"
    mend = "systemctl restart mailapi-reload.socket; journalctl -u mailapi-reload"
    found = "it answers" if good else said
    return judge("reload hook", good, found, "it answers", mend)


def _disk(patient: Patient) -> Iterator[Finding]:
    config = patient.config
    places = [config.state.directory, config.postfix.directory, plan.mail_root(config),
              Path("/var/spool/postfix")]  # fmt: skip
    seen: dict[int, Path] = {}
    for place in places:
        with contextlib.suppress(OSError):
            seen.setdefault(patient.host.real(place).stat().st_dev, place)
    for place in seen.values():
        found = os.statvfs(patient.host.real(place))
        free, share = found.f_bavail * found.f_frsize, found.f_bavail / max(1, found.f_blocks)
        nodes = found.f_favail / found.f_files if found.f_files else 1.0
        good = (free >= FREE and share >= FREE_SHARE) and nodes >= FREE_SHARE
        what = f"{free // 1048576} MB and {nodes:.0%} of the inodes free below {place}"
        should = f"{FREE // 1048576} MB and {FREE_SHARE:.0%}"
        yield judge(f"disk {place}", good, what, should, f"du -xh {place} | sort -h | tail")


def _clock(patient: Patient) -> Iterator[Finding]:
    """A clock that goes wrong shows in times that have not come yet."""
    path = patient.config.dovecot.directory / "users"
    with contextlib.suppress(OSError):
        ahead = patient.host.real(path).stat().st_mtime - time.time()
        found = "no file is of the future" if ahead <= SKEW else f"{path} is {ahead:.0f} s ahead"
        mend = f"timedatectl set-ntp true; touch {shlex.quote(str(path))}"
        yield judge("clock", ahead <= SKEW, found, "not of the future", mend)
    said = patient.host.ask("timedatectl", "show", "-p", "NTPSynchronized", "--value")
    if said == "no":
        mend = "apt-get install systemd-timesyncd && timedatectl set-ntp true"
        yield Finding("clock source", "note", "nothing sets the clock", "NTP does", mend)


def _certificates(patient: Patient) -> Iterator[Finding]:
    """Those that Postfix and Dovecot show are valid now, and for a while."""
    files = {f"postfix {path}": path for path in _of_postfix(patient)}
    files |= {f"dovecot {path}": path for path in _of_dovecot(patient)}
    for server in ("postfix", "dovecot"):
        if not any(name.startswith(server) for name in files):
            found, name = "there is none: nobody can log in", patient.config.server.hostname
            mend = f"apt-get install certbot && certbot certonly --standalone -d {name}"
            yield Finding(f"certificate of {server}", "wrong", found, "a certificate", mend)
    for name, path in files.items():
        yield _dates(patient, name, path)


def _of_postfix(patient: Patient) -> list[str]:
    chain = patient.host.ask("postconf", "-x", "-h", "smtpd_tls_chain_files") or ""
    single = patient.host.ask("postconf", "-x", "-h", "smtpd_tls_cert_file") or ""
    return [name for name in re.split(r"[\s,]+", chain or single) if name not in ("", "none")]


def _of_dovecot(patient: Patient) -> list[str]:
    said = patient.host.ask("doveconf", "-n") or ""
    return re.findall(r"^\s*(?:ssl_cert = <|ssl_server_cert_file = |cert_file = )(\S+)", said, re.M)


def _dates(patient: Patient, name: str, path: str) -> Finding:
    options = ("-startdate", "-enddate", "-issuer", "-subject")
    said = patient.host.ask("openssl", "x509", "-noout", *options, "-in", path) or ""
    return certificate(f"certificate of {name}", path, said)


def certificate(check: str, path: str, said: str) -> Finding:
    """`said` is what openssl(1) tells of it."""
    told = dict(line.partition("=")[::2] for line in said.splitlines())
    mend = "certbot renew; postfix reload; doveadm reload"
    try:
        begin, end = (_date(told[key]) for key in ("notBefore", "notAfter"))
    except (KeyError, ValueError):
        mend = f"openssl x509 -noout -dates -in {shlex.quote(path)}"
        return Finding(check, "wrong", "it cannot be read", "a certificate", mend)
    now = datetime.datetime.now(datetime.UTC)
    if begin > now or end <= now:
        return Finding(check, "wrong", f"valid from {begin:%F} to {end:%F}", "valid today", mend)
    if told.get("issuer") == told.get("subject"):
        mend = "apt-get install certbot && certbot certonly --standalone -d NAME"
        return Finding(check, "note", "nobody has signed it but itself", "an authority has", mend)
    days = (end - now).days
    return judge(check, days >= EXPIRES, f"valid for {days} days", f"{EXPIRES} days", mend, "note")


def _date(text: str) -> datetime.datetime:
    found = datetime.datetime.strptime(" ".join(text.split()), WHEN)
    return found.replace(tzinfo=datetime.UTC)
