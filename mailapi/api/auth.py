"""API keys: who sends a request, and from where he may.

A key is looked up by its digest and then believed for a second, so that one busy client does not
cost a query a request; a key that the API removes is forgotten at once, one that `mailapi key`
removes within that second. Expiry and the allow-list are looked at each time.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Final

from .. import keys
from ..caller import Caller
from ..database import Reader
from ..errors import Forbidden, Unauthorized
from ..txn import timestamp
from .client import LOCAL

BELIEVED: Final = 1.0  # seconds
MOST: Final = 10_000  # keys remembered


@dataclass(frozen=True, slots=True)
class Record:
    """A key as the database has it; `checked` is a monotonic time."""

    caller: Caller
    allow_from: tuple[str, ...]
    expires: str | None
    checked: float


class KeyRing:
    """`reader` must be open."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._records: dict[bytes, Record] = {}
        self._changes = 0

    async def caller(self, authorization: str | None, address: str) -> Caller:
        """Who sends `Authorization: Bearer KEY` from `address`.

        Raise `Unauthorized` without a valid key, `Forbidden` if its allow-list lacks the address.
        """
        scheme, _, key = (authorization or "").partition(" ")
        key = key.strip(" ")
        if scheme.lower() != "bearer" or not keys.well_formed(key):
            raise Unauthorized
        record = await self._record(keys.digest(key))
        if record is None or (record.expires and record.expires <= timestamp()):
            raise Unauthorized("This API key is unknown, expired or removed; use another.")
        if record.allow_from and not _within(address, record.allow_from):
            raise Forbidden("This API key may not be used from this address.")
        return record.caller

    def forget(self) -> None:
        """Keys have changed: look all of them up again."""
        self._records.clear()
        self._changes += 1

    async def _record(self, digest: bytes) -> Record | None:
        record = self._records.get(digest)
        if record is None or record.checked < time.monotonic() - BELIEVED:
            self._records.pop(digest, None)
            changes = self._changes
            record = await self._reader.run(partial(_find, digest=digest))
            unchanged = changes == self._changes  # or it may be a removed one
            if record is not None and unchanged and len(self._records) < MOST:
                self._records[digest] = record
        return record


def _find(db: sqlite3.Connection, digest: bytes) -> Record | None:
    checked = time.monotonic()
    row = db.execute(
        "SELECT id, name, scope, domains, allow_from, expires FROM api_key WHERE digest = ?",
        (digest,),
    ).fetchone()
    if row is None:
        return None
    id_, name, scope, domains, allow_from, expires = row
    caller = Caller(f"key:{id_}", name, scope, tuple(json.loads(domains)))
    return Record(caller, tuple(json.loads(allow_from)), expires, checked)


def _within(address: str, networks: tuple[str, ...]) -> bool:
    """A client on the Unix socket has no address, and is in no network."""
    return address != LOCAL and any(ip_address(address) in ip_network(net) for net in networks)
