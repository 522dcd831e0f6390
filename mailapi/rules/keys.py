"""API keys: add, remove. They are rendered nowhere and leave the generation as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .. import keys, objects
from ..errors import Invalid
from ..objects import KEY
from ..txn import Result, Txn, existing


def add(txn: Txn, fields: Mapping[str, Any]) -> Result:
    """The result's `secret` is the key, which is shown this once. Raise `Forbidden`, `Invalid`."""
    txn.caller.administers()
    if fields["scope"] == "admin" and fields["domains"]:
        raise Invalid.field("domains", "must be empty for scope admin, which covers everything")
    key = keys.new()
    row = {
        "name": fields["name"],
        "scope": fields["scope"],
        "domains": json.dumps(fields["domains"]),
        "allow_from": json.dumps(fields["allow_from"]),
        "expires": fields["expires"],
        "digest": keys.digest(key),
        "created": txn.now,
    }
    key_id = txn.insert("api_key", row)
    after = objects.shown(txn.db, KEY, key_id)
    txn.log("add", KEY, str(key_id), None, after=after)
    data = objects.one(txn.db, KEY, key_id)
    return Result("API key has been added", key_id, 201, data, secret=key)


def remove(txn: Txn, key_id: int, if_match: str | None = None) -> Result:
    """The key is refused from now on. Raise `Forbidden`, `NotFound`, `PreconditionFailed`."""
    txn.caller.administers()
    before = existing(txn, KEY, key_id, if_match)
    txn.db.execute("DELETE FROM api_key WHERE id = ?", (key_id,))
    txn.log("remove", KEY, str(key_id), None, before=before)
    return Result("API key has been removed", key_id)
