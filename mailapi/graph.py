"""Rows -> snapshots: who is touched by a change, and what an address leads to.

`closure` walks against the aliases' arrows: whatever leads to a name whose state changed may be
rendered otherwise now. `load` walks along them: what rendering a name needs to know.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator

from .addresses import base
from .snapshot import Alias, Domain, Mailbox, Snapshot


def closure(db: sqlite3.Connection, names: Collection[str], deep: Collection[str]) -> set[str]:
    """All names whose rows may have changed.

    `names` changed in their own rows only (a password, a quota); `deep` in what others see of them:
    they came, went, were switched, or want TLS. A name is a domain, an address or `@domain`.
    """
    seen, queue, rows = set(deep), set(deep), set(names) | set(deep)
    while queue:
        domains = {name for name in queue if "@" not in name}
        catch_alls = {name[1:] for name in queue if name.startswith("@")}
        relays = _relays(db, queue)  # their first member and their last matters to all that mail
        found = _leading_to(db, queue) | _pointing_into(db, domains | catch_alls | relays)
        found |= {f"@{domain}" for domain in domains}
        rows |= found | catch_alls | {f"@{domain}" for domain in relays} | _tagged(db, queue)
        rows |= _members(db, catch_alls)  # their rows depend on it, but not what they are
        queue = found - seen
        seen |= queue
    return rows


def _strings(db: sqlite3.Connection, sql: str, names: Iterable[str]) -> set[str]:
    return {row[0] for row in db.execute(sql, (json.dumps(list(names)),))}


def _leading_to(db: sqlite3.Connection, names: Iterable[str]) -> set[str]:
    """The aliases that have one of the addresses, with or without a +tag, as a target."""
    bases = {base(name) for name in names if "@" in name}
    return _strings(
        db,
        "SELECT alias.address FROM alias_target JOIN alias ON alias.id = alias_id "
        "WHERE base IN (SELECT value FROM json_each(?))",
        bases,
    )


def _relays(db: sqlite3.Connection, names: Iterable[str]) -> set[str]:
    """The backup MX domains of the addresses."""
    domains = {name.rpartition("@")[2] for name in names if "@" in name}
    sql = "SELECT domain FROM domain WHERE domain IN (SELECT value FROM json_each(?)) AND backupmx"
    return _strings(db, sql, domains)


def _tagged(db: sqlite3.Connection, names: Iterable[str]) -> set[str]:
    """The aliases that are one of the addresses with a +tag: their rows depend on it."""
    plain = [name for name in names if name.find("@") > 0]
    local = "substr(value, 1, instr(value, '@') - 1)"
    return _strings(
        db,
        "SELECT address FROM json_each(?) JOIN alias "  # noqa: S608 - constants
        f"ON address > {local} || '+' AND address < {local} || ',' "  # the comma follows the plus
        "AND substr(address, instr(address, '@')) = substr(value, instr(value, '@'))",
        plain,
    )


def _pointing_into(db: sqlite3.Connection, domains: Collection[str]) -> set[str]:
    """The aliases with a target in one of the domains."""
    if not domains:
        return set()
    return _strings(
        db,
        "SELECT alias.address FROM alias_target JOIN alias ON alias.id = alias_id "
        "WHERE alias_target.domain IN (SELECT value FROM json_each(?))",
        domains,
    )


def _members(db: sqlite3.Connection, domains: Collection[str]) -> set[str]:
    """The addresses in the domains."""
    if not domains:
        return set()
    ids = "SELECT id FROM domain WHERE domain IN (SELECT value FROM json_each(?1))"
    return _strings(
        db,
        f"SELECT email FROM mailbox WHERE domain_id IN ({ids}) "  # noqa: S608 - constants
        f"UNION ALL SELECT address FROM alias WHERE domain_id IN ({ids})",
        domains,
    )


def load(db: sqlite3.Connection, names: Iterable[str]) -> Snapshot:
    """The rows of `names` and of all that they lead to."""
    snapshot = Snapshot({}, {}, {})
    queue, seen = _candidates(names), set[str]()
    while queue:
        seen |= queue
        wanted = json.dumps(list(queue))
        _load_domains(db, snapshot, queue)
        _load_mailboxes(db, snapshot, wanted)
        aliases = _load_aliases(db, snapshot, wanted)
        queue = _candidates(t for alias in aliases for t in alias.targets) - seen
    return snapshot


def _candidates(names: Iterable[str]) -> set[str]:
    """Each name, and what else may take its mail: without its +tag, or the catch-all."""
    found = set()
    for name in names:
        folded = name.lower()
        domain = folded.rpartition("@")[2]
        found |= {folded, domain, f"@{domain}"}
        if "+" in folded:
            found.add(base(folded))
    return found


def _load_domains(db: sqlite3.Connection, snapshot: Snapshot, queue: Iterable[str]) -> None:
    names = [name for name in queue if "@" not in name]
    if not names:
        return
    sql = (
        "SELECT domain, active, backupmx, mailboxes_used + aliases_used FROM domain "
        "WHERE domain IN (SELECT value FROM json_each(?))"
    )
    for name, active, backupmx, used in db.execute(sql, (json.dumps(names),)):
        snapshot.domains[name] = Domain(name, bool(active), bool(backupmx), used > 0)


def _load_mailboxes(db: sqlite3.Connection, snapshot: Snapshot, wanted: str) -> None:
    sql = (
        "SELECT email, substr(email, length(local_part) + 2), active, force_pw_update, "
        "tls_enforce_in, tls_enforce_out, quota, generation, password_hash FROM mailbox "
        "WHERE email IN (SELECT value FROM json_each(?))"
    )
    for row in db.execute(sql, (wanted,)):
        email, domain, active, locked, tls_in, tls_out, *rest = row
        flags = (bool(active), bool(locked), bool(tls_in), bool(tls_out))
        snapshot.mailboxes[email] = Mailbox(email, domain, *flags, *rest)


def _load_aliases(db: sqlite3.Connection, snapshot: Snapshot, wanted: str) -> list[Alias]:
    sql = (
        "SELECT a.address, a.active, (SELECT json_group_array(address) FROM (SELECT address "
        "FROM alias_target WHERE alias_id = a.id ORDER BY position)) FROM alias a "
        "WHERE a.address IN (SELECT value FROM json_each(?))"
    )
    found = []
    for address, active, targets in db.execute(sql, (wanted,)):
        domain = address.rpartition("@")[2]
        alias = Alias(address, domain, bool(active), tuple(json.loads(targets)))
        snapshot.aliases[address] = alias
        found.append(alias)
    return found


def all_names(db: sqlite3.Connection) -> Iterator[str]:
    """Every name there is, in the order in which the files hold them."""
    for id_, domain in db.execute("SELECT id, domain FROM domain ORDER BY domain").fetchall():
        sql = (
            "SELECT email FROM mailbox WHERE domain_id = ?1 UNION "
            "SELECT address FROM alias WHERE domain_id = ?1 UNION SELECT ?2 UNION SELECT ?3 "
            "ORDER BY 1"
        )
        for (name,) in db.execute(sql, (id_, domain, f"@{domain}")):
            yield name


def upstream(db: sqlite3.Connection, address: str) -> set[str]:
    """The address and every alias that may lead to it."""
    seen, queue = set[str](), {address}
    while queue:
        seen |= queue
        found = _leading_to(db, queue)
        found |= _pointing_into(db, {name[1:] for name in queue if name.startswith("@")})
        queue = found - seen
    return seen
