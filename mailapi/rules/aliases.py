"""Aliases: add, update, remove."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import objects
from ..addresses import split
from ..errors import Invalid, LimitExceeded
from ..objects import ALIAS
from ..txn import Result, Txn, existing, same
from . import domains, targets
from .mailboxes import free

COLUMNS = ("address", "active", "description")


def add(txn: Txn, fields: Mapping[str, Any]) -> Result:
    """Raise `NotFound`, `Exists`, `LimitExceeded`, `TargetNotFound`, `AliasLoop`."""
    address = fields["address"]
    domain = _room_for(txn, address)
    goto = targets.check(txn, fields["goto"], address)
    row = {name: fields[name] for name in COLUMNS}
    row |= {"domain_id": domain, "created": txn.now, "modified": txn.now}
    alias_id = txn.insert("alias", row)
    targets.store(txn.db, alias_id, goto)
    targets.check_reach(txn, address)
    _touch(txn, address)
    after = objects.shown(txn.db, ALIAS, alias_id)
    txn.log("add", ALIAS, address, split(address)[1], after=after)
    return Result("Alias has been added", alias_id, 201, objects.one(txn.db, ALIAS, alias_id))


def update(
    txn: Txn,
    alias_id: int,
    fields: Mapping[str, Any],
    fixed: dict[str, Any],
    if_match: str | None = None,
) -> Result:
    """Raise `NotFound`, `PreconditionFailed`, `Invalid` and what `add` raises."""
    before = existing(txn, ALIAS, alias_id, if_match)
    txn.caller.writes(before["domain"])
    same(before, fixed)
    changed = {
        name: fields[name] for name in COLUMNS if fields.get(name, before[name]) != before[name]
    }
    old, new = before["address"], changed.get("address", before["address"])
    if old != new:
        _rename(txn, alias_id, old, new)
    moved = _retarget(txn, alias_id, new, before["goto"], fields.get("goto"))
    if changed or moved:
        txn.update("alias", alias_id, {**changed, "modified": txn.now})
        targets.check_reach(txn, new)
        _touch(txn, old, new)
        after = objects.shown(txn.db, ALIAS, alias_id)
        txn.log("update", ALIAS, new, split(new)[1], before=before, after=after)
    return Result("Alias has been updated", alias_id, data=objects.one(txn.db, ALIAS, alias_id))


def remove(txn: Txn, alias_id: int, if_match: str | None = None) -> Result:
    """Raise `NotFound`, `PreconditionFailed`."""
    before = existing(txn, ALIAS, alias_id, if_match)
    txn.caller.writes(before["domain"])
    targets.remove_alias(txn, alias_id)
    return Result("Alias has been removed", alias_id)


def _room_for(txn: Txn, address: str) -> int:
    """The number of the address's domain, which has room for one more alias."""
    name = split(address)[1]
    txn.caller.writes(name)
    domain_id, domain = domains.require(txn, name)
    free(txn, address)
    if domain["aliases_used"] >= domain["aliases"]:
        raise LimitExceeded(f"The domain may have {domain['aliases']} aliases; raise its limit.")
    return domain_id


def _rename(txn: Txn, alias_id: int, old: str, new: str) -> None:
    """Move the alias to a free address; not while other aliases lead to the old one."""
    if split(old)[1] == split(new)[1]:
        free(txn, new)
        domain_id = domains.require(txn, split(new)[1])[0]
    else:
        domain_id = _room_for(txn, new)
    if targets.leading_to(txn, old):
        raise Invalid.field("address", "is a target of other aliases; change these first")
    txn.update("alias", alias_id, {"domain_id": domain_id, "address": new})


def _retarget(txn: Txn, alias_id: int, address: str, before: str, goto: Any) -> bool:
    """Whether the targets have changed.

    Those that stay are not looked at again: a domain of ours may have come after them, and it must
    still be possible to switch the alias off.
    """
    if goto is None or ",".join(goto) == before:
        return False
    checked = targets.check(txn, goto, address)
    if ",".join(checked) == before:
        return False
    targets.store(txn.db, alias_id, checked)
    return True


def _touch(txn: Txn, *addresses: str) -> None:
    """Addresses came, went or lead elsewhere; a backup MX domain's recipients may be listed now."""
    txn.deep |= set(addresses)
    txn.names |= {f"@{split(address)[1]}" for address in addresses}
