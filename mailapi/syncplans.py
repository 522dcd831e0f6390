"""Sync jobs before the writer sees them: what a client may ask for, and the password sealed.

The host is refused here as far as it can be told from what is written; the runner looks at the
addresses of a name when it connects. Raises `Refused`, and `NoSecrets` where nothing is sealed.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from . import models, reach
from .caller import Caller
from .errors import Invalid, NoSecrets, StateError
from .rules.syncjobs import PORTS
from .secretbox import Secretbox
from .settings import Sync
from .syncmodels import SyncJobAdd, SyncJobUpdate

FIXED: Final = {
    "id", "username", "is_running", "last_run", "success", "exit_status", "next_run",
    "messages", "bytes", "folder", "share",
}  # fmt: skip
_log = structlog.get_logger("mailapi.sync")


class SyncPlans:
    """`settings` say which hosts are in reach."""

    def __init__(self, settings: Sync, box: Secretbox) -> None:
        self._settings, self._box = settings, box

    def added(self, caller: Caller, body: object) -> dict[str, Any]:
        """The fields of a new job, with `secret`."""
        return self._sealed(self.asked(caller, body))

    def updated(self, body: object) -> dict[str, Any]:
        """The fields that were given, with `secret` if there was a password."""
        fields = models.parse(SyncJobUpdate, body)
        self._check(fields)
        return self._sealed(fields)

    def asked(self, caller: Caller, body: object) -> dict[str, Any]:
        """The fields of a new job as they are, for a look at the remote side before it is saved."""
        fields = models.parse(SyncJobAdd, body)
        caller.writes(fields["username"].rpartition("@")[2])
        fields["port1"] = fields["port1"] or PORTS[fields["enc1"]]
        self._check(fields)
        return fields

    def check_plain(self, enc1: str, host1: str) -> None:
        """Passwords go in clear to this host only, or where that is allowed."""
        if enc1 == "PLAIN" and not self._settings.allow_plaintext and not reach.loopback(host1):
            raise Invalid.field(
                "enc1", "must be SSL or TLS; PLAIN needs [sync] allow_plaintext on this server"
            )

    def _check(self, fields: dict[str, Any]) -> None:
        host = fields.get("host1")
        if host is not None and reach.refused(host, self._settings.allow_private_hosts):
            raise Invalid.field(
                "host1",
                "must be a host of the Internet; others need [sync] allow_private_hosts here",
            )
        if "enc1" in fields and host is not None:
            self.check_plain(fields["enc1"], host)

    def _sealed(self, fields: dict[str, Any]) -> dict[str, Any]:
        if "password1" in fields:
            try:
                fields["secret"] = self._box.seal(fields.pop("password1"))
            except StateError as error:
                _log.error("the keys of sync jobs' passwords cannot be used", cause=error.msg)
                raise NoSecrets(retry_after=60) from error
        return fields
