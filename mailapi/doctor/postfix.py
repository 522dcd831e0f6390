"""Postfix: does it use our maps, does it find in them what it should, and is it no open relay?

postconf(1), postmap(1), postconf(5).
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator
from typing import Final

from .. import serverconfig
from ..setup.conflicts import parameters, words
from ..setup.found import POSTFIX
from .finding import Finding, Patient, judge, sample

RELOAD: Final = "postfix reload"
MOST: Final = 5  # entries of a map that are named
SETTING: Final = re.compile(r"postconf (-[MP] )?-e ")  # a line of the script
# An administrator may have reasons for another value; none of them has to do with our maps.
ADVICE: Final = {
    "smtpd_tls_security_level",
    "smtp_tls_security_level",
    "smtpd_sasl_auth_enable",
    "smtpd_sasl_security_options",
    "mydestination",
    "plaintext_reject_code",
}
STRICT: Final = {"yes", "normalize", "reject", "note"}  # of smtpd_forbid_bare_newline; 3.9 has more
# What may come before the restriction that refuses to relay, because it lets nobody in for nothing.
SAFE: Final = re.compile(
    r"permit_mynetworks|permit_sasl_authenticated|permit_tls_clientcerts|permit_auth_destination"
    r"|reject_\w+|defer_\w+|warn_if_reject|sleep|[0-9]+"
)
ENDS: Final = {"reject_unauth_destination", "defer_unauth_destination", "reject", "defer"}
WIDEST: Final = {4: 8, 6: 16}  # bits of a network that one host can be trusted with


def check(patient: Patient) -> Iterator[Finding]:
    host, config = patient.host, patient.config
    script = serverconfig.postfix(config).replace("\\\n", "").splitlines()
    lines = [shlex.split(line) for line in script if SETTING.match(line)]
    now = parameters(host, POSTFIX)
    yield from _parameters(now, [line[2] for line in lines if line[1] == "-e"])
    yield from _master(patient, [line for line in lines if line[1] != "-e"])
    yield from _maps(patient)
    yield from _destinations(patient)
    yield _bare_newline(patient)
    yield from _relay(patient)


def _parameters(now: dict[str, str], expected: list[str]) -> Iterator[Finding]:
    """Each has our value, or ours and more."""
    bad = 0
    for setting in expected:
        name, _, value = (part.strip() for part in setting.partition("="))
        has, should = now.get(name), words(value)
        if _holds(has, should):
            continue
        bad += 1
        yield Finding(
            f"postfix {name}",
            "note" if name in ADVICE else "wrong",
            "not set" if has is None else has or "empty",
            should or "empty",
            f"postconf -e {shlex.quote(setting)} && {RELOAD}",
        )
    if not bad:
        yield Finding("postfix settings", "ok", f"{len(expected)} parameters are as we need them")


def _holds(has: str | None, should: str) -> bool:
    """An empty value is asked for as such."""
    if has is None or not should:
        return has == should
    return set(should.split()) <= set(has.split())


def _master(patient: Patient, lines: list[list[str]]) -> Iterator[Finding]:
    said = patient.host.run("postconf", "-M").splitlines()
    services = {"/".join(line.split()[:2]): line.split()[:8] for line in said if line.strip()}
    pairs = (line.partition("=") for line in patient.host.run("postconf", "-P").splitlines())
    options = {name.strip(): value.strip() for name, _, value in pairs}
    bad = 0
    for line in lines:
        name, value = (part.strip() for part in line[3].split("=", 1))
        if line[1] == "-M":
            good, has = services.get(name) == value.split(), " ".join(services.get(name, []))
        else:
            has = options.get(name, "")
            good = words(has) == words(value)
        if not good:
            bad += 1
            mend = f"postconf {line[1]} -e {shlex.quote(line[3])} && {RELOAD}"
            yield Finding(f"postfix master.cf {name}", "wrong", has or "not there", value, mend)
    if not bad:
        yield Finding("postfix services", "ok", "submission, submissions and mailapi-tls are there")


def _maps(patient: Patient) -> Iterator[Finding]:
    """postmap(1) finds a sample of the entries, and the maps have no others than they should."""
    config, asked, bad = patient.config.postfix, 0, 0
    for name, data in patient.wished.items():
        server, _, file = name.partition("/")
        if server != "postfix":
            continue
        lines = (line.decode("ascii").partition(" ")[::2] for line in data.splitlines())
        should, table = dict(lines), f"{config.map_type}:{config.directory / file}"
        chosen = sample(list(should))
        asked += len(chosen)
        has = _queried(patient, table, chosen)
        wrong = {key: has.get(key, "nothing") for key in chosen if has.get(key) != should[key]}
        if config.map_type == "lmdb":
            wrong |= _others(patient, table, should)
        bad += len(wrong)
        for key, value in list(wrong.items())[:MOST]:
            found = f"postmap finds {value} for {key}"
            expected = should.get(key, "nothing")
            yield Finding(f"postfix {file}", "wrong", found, expected, "mailapi apply")
    if not bad:
        yield Finding("postfix maps", "ok", f"postmap -q finds {asked} of {asked} entries")


def _others(patient: Patient, table: str, should: dict[str, str]) -> dict[str, str]:
    """Entries of the map itself that are no entries of the state, or are missing."""
    said = patient.host.run("postmap", "-s", table)
    has = dict(line.partition("\t")[::2] for line in said.splitlines())
    keys = has.keys() | should.keys()
    return {key: has.get(key, "nothing") for key in sorted(keys) if has.get(key) != should.get(key)}


def _queried(patient: Patient, table: str, keys: list[str]) -> dict[str, str]:
    if not keys:
        return {}
    script = f"postmap -q - {shlex.quote(table)} || true"  # 1: one of them is not there
    said = patient.host.run("sh", "-c", script, stdin="\n".join(keys) + "\n")
    pairs = (line.partition("\t")[::2] for line in said.splitlines() if "\t" in line)
    return dict(pairs)


def _destinations(patient: Patient) -> Iterator[Finding]:
    """No domain of ours is another kind of domain for Postfix, too; ADDRESS_CLASS_README."""
    virtual = set(patient.keys("postfix/virtual_mailbox_domains"))
    relayed = set(patient.keys("postfix/relay_domains"))
    bad = False
    for name in ("mydestination", "virtual_alias_domains"):
        said = words((patient.host.ask("postconf", "-x", "-h", name) or "").lower()).split()
        raw = words(patient.host.ask("postconf", "-h", name) or "").split()
        for domain in sorted((virtual | relayed) & set(said)):
            bad = True
            rest = [word for word in raw if word.lower() != domain]
            if rest == raw:  # it is there as the value of another parameter
                rest = [word for word in said if word != domain]
            yield Finding(
                f"postfix {name}",
                "wrong",
                f"{domain} is in {name} and a domain of mailapi",
                "in one of both",
                f"postconf -e {shlex.quote(f'{name} = ' + ', '.join(rest))} && {RELOAD}",
            )
    if not bad:
        yield Finding("postfix domains", "ok", "no domain of ours is in mydestination")


def _bare_newline(patient: Patient) -> Finding:
    value = patient.host.ask("postconf", "-h", "smtpd_forbid_bare_newline")
    if not value:
        mend = "apt-get update && apt-get install --only-upgrade postfix"
        found = "this Postfix does not know smtpd_forbid_bare_newline"
        return Finding("postfix smuggling", "note", found, "a release that does", mend)
    mend = f"postconf -e 'smtpd_forbid_bare_newline = yes' && {RELOAD}"
    found = f"smtpd_forbid_bare_newline = {value}"
    return judge("postfix smuggling", value in STRICT, found, "yes", mend)


def _relay(patient: Patient) -> Iterator[Finding]:
    """Only this host and who has logged in may send to the world."""
    said = patient.host.ask("postconf", "-x", "-h", "smtpd_relay_restrictions") or ""
    recipient = patient.host.ask("postconf", "-x", "-h", "smtpd_recipient_restrictions") or ""
    good = _closed(words(said).split()) or (not said and _closed(words(recipient).split()))
    should = "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination"
    mend = f"postconf -e 'smtpd_relay_restrictions = {should}' && {RELOAD}"
    found = f"smtpd_relay_restrictions = {said}"
    yield judge("postfix open relay", good, found, should, mend)
    networks = words(patient.host.ask("postconf", "-x", "-h", "mynetworks") or "").split()
    wide = [network for network in networks if _wide(network)]
    mend = f"postconf -e 'mynetworks = 127.0.0.0/8 [::1]/128' && {RELOAD}"
    found = f"mynetworks = {' '.join(networks)}"
    yield judge("postfix mynetworks", not wide, found, "this host's own networks", mend)


def _closed(restrictions: list[str]) -> bool:
    """Nothing before the one that refuses lets strangers in; tables are looked into by nobody."""
    for restriction in restrictions:
        if restriction in ENDS:
            return True
        table = restriction.startswith("check_") or ":" in restriction
        if not table and not SAFE.fullmatch(restriction):
            return False
    return False


def _wide(network: str) -> bool:
    try:
        found = ipaddress.ip_network(network.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return False  # a table, or an exclusion
    mapped = found.version == 6 and found.prefixlen >= 96
    return not mapped and found.prefixlen < WIDEST[found.version]
