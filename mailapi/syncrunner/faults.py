"""Why a run or a test failed: a code for programs, and a sentence for people without secrets."""

from __future__ import annotations

from typing import Final

REASONS: Final = {  # code -> (the field at fault, what it means)
    "host_not_found": ("host1", "its name is not found"),
    "host_not_allowed": ("host1", "leads to an address that is not the Internet's"),
    "refused": ("port1", "nobody listens there: the connection is refused"),
    "unreachable": ("host1", "cannot be reached"),
    "timeout": ("host1", "does not answer in time"),
    "connection_lost": ("host1", "closes the connection"),
    "no_imap": ("port1", "does not speak IMAP"),
    "tls_failed": ("enc1", "TLS cannot be agreed on there; try another enc1 or port1"),
    "certificate_name": ("host1", "its TLS certificate is for another name"),
    "certificate": (
        "host1",
        "its TLS certificate is not trusted: expired, or its issuer unknown",
    ),
    "plain_refused": ("enc1", "must be SSL or TLS here"),
    "login_failed": ("password1", "the log-in is refused: user1 or password1 is wrong"),
    "listing_failed": ("host1", "does not list its folders"),
}
RESULTS: Final = {  # `exit_status`, as a whole; the service adds the last two
    *REASONS,
    *("ok", "quota_full", "incomplete", "time_limit", "stopped"),
    *("local_failed", "engine_failed", "internal"),
    *("interrupted", "password_unreadable"),
}


class SyncFault(Exception):
    """`code` is one of REASONS, or of the engine's; `output` is what else there is to say."""

    def __init__(self, code: str, output: str = "") -> None:
        super().__init__(code)
        self.code, self.output = code, output

    @property
    def field(self) -> str:
        return REASONS.get(self.code, ("host1", ""))[0]

    @property
    def reason(self) -> str:
        return REASONS.get(self.code, ("", self.code))[1]
