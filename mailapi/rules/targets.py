"""Alias targets: which may be named, how far they may lead, and what becomes of them.

A target in a domain of ours must exist as a mailbox or alias, itself or without its +tag. An alias
may lead to another, but never back to itself, not through more than 100 levels, and not to more
than 1000 addresses: Postfix stops at 1000 of each (postconf(5), virtual_alias_expansion_limit).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from .. import graph, objects
from ..addresses import MAX_TARGETS, base, split
from ..errors import AliasLoop, TargetNotFound
from ..objects import ALIAS
from ..snapshot import Alias, Snapshot
from ..txn import Txn

MAX_LEVELS = 100


def check(txn: Txn, given: Sequence[str], own: str) -> tuple[str, ...]:
    """The targets, ours in lower case, without duplicates. Raise `TargetNotFound`, `AliasLoop`."""
    snapshot = graph.load(txn.db, given)
    found: dict[str, None] = {}
    for number, target in enumerate(given, 1):
        local, domain = split(target)
        if domain in snapshot.domains:
            target = f"{local.lower()}@{domain}"
            if target == own:
                raise AliasLoop.field("goto", "must not name the alias itself")
            if not _exists(snapshot, target):
                raise TargetNotFound.field(
                    "goto", f"address number {number} is in a domain of this host but not there"
                )
        found[target] = None
    return tuple(found)


def _exists(snapshot: Snapshot, target: str) -> bool:
    names = snapshot.mailboxes.keys() | snapshot.aliases.keys()
    return target in names or base(target) in names


def store(db: sqlite3.Connection, alias_id: int, targets: Iterable[str]) -> None:
    """Replace the alias's targets."""
    db.execute("DELETE FROM alias_target WHERE alias_id = ?", (alias_id,))
    rows = [
        (alias_id, position, target, base(target.lower()), split(target)[1])
        for position, target in enumerate(targets)
    ]
    db.executemany("INSERT INTO alias_target VALUES (?, ?, ?, ?, ?)", rows)


def check_reach(txn: Txn, address: str) -> None:
    """The alias and all that lead to it stay within the limits. Raise `AliasLoop`."""
    above = graph.upstream(txn.db, address)
    snapshot = graph.load(txn.db, above)
    known: dict[str, tuple[int, int]] = {}
    for name in above:
        if name in snapshot.aliases:
            _reach(snapshot, snapshot.aliases[name], known, set())


def _reach(
    snapshot: Snapshot, alias: Alias, known: dict[str, tuple[int, int]], path: set[str]
) -> tuple[int, int]:
    """How many addresses the alias expands to, and through how many levels."""
    if alias.address in known:
        return known[alias.address]
    if alias.address in path:
        raise AliasLoop.field("goto", "must not lead back to the alias")
    path.add(alias.address)
    size, levels = 0, 1
    for target in alias.targets:
        found = snapshot.find(target)
        if isinstance(found, Alias):
            below = _reach(snapshot, found, known, path)
            size, levels = size + below[0], max(levels, below[1] + 1)
        else:
            size += 1
        if size > MAX_TARGETS or levels > MAX_LEVELS:
            raise AliasLoop.field(
                "goto", f"leads to more than {MAX_TARGETS} addresses or {MAX_LEVELS} levels"
            )
    path.discard(alias.address)
    known[alias.address] = size, levels
    return size, levels


def leading_to(txn: Txn, address: str) -> list[tuple[int, int]]:
    """The targets that name the address, or an address with a +tag that only it takes.

    Each is the number of its alias and its position there.
    """
    return txn.db.execute(
        "SELECT alias_id, position FROM alias_target t WHERE base = ?1 AND (lower(address) = ?2 "
        "OR ?1 = ?2 AND NOT EXISTS (SELECT 1 FROM alias a WHERE a.address = lower(t.address)))",
        (base(address), address),
    ).fetchall()


def drop(txn: Txn, address: str) -> None:
    """The address is gone: take it out of every alias; one left without a target goes too."""
    _take_out(txn, leading_to(txn, address))


def drop_domain(txn: Txn, domain: str) -> None:
    """The domain's members go: take them out of the aliases of other domains.

    Targets that nobody there takes stay: with the domain gone they are other hosts' again.
    """
    rows = txn.db.execute(
        "SELECT t.alias_id, t.position FROM alias_target t JOIN alias a ON a.id = t.alias_id "
        "WHERE t.domain = ?1 AND substr(a.address, instr(a.address, '@') + 1) <> ?1 AND "
        "(EXISTS (SELECT 1 FROM mailbox m WHERE m.email IN (lower(t.address), t.base)) OR "
        "EXISTS (SELECT 1 FROM alias b WHERE b.address IN (lower(t.address), t.base)))",
        (domain,),
    ).fetchall()
    _take_out(txn, rows)


def _take_out(txn: Txn, rows: Iterable[tuple[int, int]]) -> None:
    positions: dict[int, list[int]] = {}
    for alias_id, position in rows:
        positions.setdefault(alias_id, []).append(position)
    for alias_id, gone in positions.items():
        before = objects.one(txn.db, ALIAS, alias_id)
        if before is None:  # removed meanwhile, as another alias's only target
            continue
        shown = objects.shown(txn.db, ALIAS, alias_id)
        txn.db.executemany(
            "DELETE FROM alias_target WHERE alias_id = ? AND position = ?",
            [(alias_id, position) for position in gone],
        )
        txn.deep.add(shown["address"])
        if txn.row("SELECT 1 FROM alias_target WHERE alias_id = ?", alias_id):
            txn.update("alias", alias_id, {"modified": txn.now})
            after = objects.shown(txn.db, ALIAS, alias_id)
            domain = shown["domain"]
            txn.log("update", ALIAS, shown["address"], domain, before=shown, after=after)
        else:
            remove_alias(txn, alias_id)


def remove_alias(txn: Txn, alias_id: int) -> None:
    """Delete the alias, and what only led to it."""
    before = objects.shown(txn.db, ALIAS, alias_id)
    txn.db.execute("DELETE FROM alias WHERE id = ?", (alias_id,))
    txn.deep.add(before["address"])
    txn.names.add(f"@{before['domain']}")
    txn.log("remove", ALIAS, before["address"], before["domain"], before=before)
    drop(txn, before["address"])
