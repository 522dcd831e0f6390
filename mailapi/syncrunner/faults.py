"""Why a run or a test failed: a code for programs, and a sentence for people without secrets.

with explained():       # what the network raises becomes a `SyncFault`
    ...
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import Final

REASONS: Final = {  # code -> (the field at fault, what it means)
    "host_not_found": ("host1", "its name is not found"),
    "host_not_allowed": ("host1", "leads to an address that is not the Internet's"),
    "refused": ("port1", "nobody listens there: the connection is refused"),
    "unreachable": ("host1", "cannot be reached"),
    "timeout": ("host1", "does not answer in time"),
    "connection_lost": ("host1", "closes the connection"),
    "no_imap": ("port1", "does not speak IMAP"),
    "preauth": ("port1", "asks for no log-in (PREAUTH), so it does not say whose mail it has"),
    "tls_failed": ("enc1", "TLS cannot be agreed on there; try another enc1 or port1"),
    "certificate_name": ("host1", "its TLS certificate is for another name"),
    "certificate": (
        "host1",
        "its TLS certificate is not trusted: expired, or its issuer unknown",
    ),
    "plain_refused": ("enc1", "must be SSL or TLS here"),
    "login_failed": ("password1", "the log-in is refused: user1 or password1 is wrong"),
    "login_unavailable": ("host1", "takes no log-in for now; user1 and password1 may be right"),
    "listing_failed": ("host1", "does not list its folders"),
    "too_much": ("host1", "has more than 10,000 folders, or says far more than it is asked for"),
    "internal": ("host1", "the runner failed; its log has the details"),
}
RESULTS: Final = {  # `exit_status`, as a whole; the service adds the last two
    *REASONS,
    *("ok", "quota_full", "incomplete", "time_limit", "stopped"),
    *("local_failed", "engine_failed"),
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


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Exceptions of the network become a `SyncFault`."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        name = error.verify_code in (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH
        raise SyncFault("certificate_name" if name else "certificate") from None
    except TimeoutError:
        raise SyncFault("timeout") from None
    except ssl.SSLError:
        raise SyncFault("tls_failed") from None
    except ConnectionRefusedError:
        raise SyncFault("refused") from None
    except (ConnectionError, asyncio.IncompleteReadError):
        raise SyncFault("connection_lost") from None
    except asyncio.LimitOverrunError:
        raise SyncFault("no_imap") from None
    except OSError:
        raise SyncFault("unreachable") from None
