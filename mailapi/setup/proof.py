"""A delivery to this host itself: a mailbox of its own, a message by SMTP, and its reading by IMAP.

    deliver(host, config, journal)      raises `InitFailed`: what did not work
    clean(host, config, journal)        removes what a delivery that was interrupted left

The mailbox is made over [server] admin_socket, in a domain of .invalid (RFC 6761) that nobody can
have; both are gone in the end, and so is the mail.
"""

from __future__ import annotations

import contextlib
import imaplib
import secrets
import smtplib
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from .. import client
from ..config import Config
from ..errors import Exists, InitFailed, MailapiError, NotFound
from .host import Host
from .journal import Journal
from .plan import mail_root

LOCAL: Final = "127.0.0.1"
PATIENCE: Final = 45.0  # seconds for a step, in which servers start anew
PAUSE: Final = 0.2
NAME: Final = "init"


def deliver(host: Host, config: Config, journal: Journal) -> None:
    domain, password = f"init-{secrets.token_hex(8)}.invalid", secrets.token_urlsafe(24)
    address, subject = f"{NAME}@{domain}", secrets.token_hex(8)
    journal.mark("proof", domain=domain)
    try:
        _wait("The service does not make the mailbox live", lambda: _live(config, domain, password))
        _wait("Postfix does not take the message", lambda: _send(host, address, subject))
        _wait("The message cannot be read", lambda: _read(address, password, subject))
    finally:
        clean(host, config, journal)


def clean(host: Host, config: Config, journal: Journal) -> None:
    """As far as the service runs; the mail in any case."""
    domain = journal.marks().get("proof", {}).get("domain")
    if not domain:
        return
    gone = True
    try:
        _ask(config, "DELETE", f"{client.path('domains', domain)}?cascade=true")
    except NotFound:
        pass
    except MailapiError:
        gone = False
    home = home_of(config, domain)
    host.remove_directory(home, everything=True)
    while (home := home.parent).is_relative_to(mail_root(config)) and home != mail_root(config):
        if not host.remove_directory(home):
            break
    if gone:
        journal.mark("proof", domain="")


def home_of(config: Config, domain: str) -> Path:
    """Where the mailbox of the delivery has its mail."""
    home = config.dovecot.mail_home
    for sign, value in (("%d", domain), ("%n", NAME), ("%u", f"{NAME}@{domain}")):
        home = home.replace(sign, value)
    return Path(home)


def _ask(config: Config, method: str, path: str, body: Any = None) -> Any:
    return client.request(client.of(config, None), method, path, body)


def _live(config: Config, domain: str, password: str) -> bool:
    """Make the mailbox, if it was not made before, and wait for it."""
    limits = {"mailboxes": 1, "aliases": 0, "defquota": 1, "maxquota": 1, "quota": 1}
    mailbox = {
        "local_part": NAME, "domain": domain, "name": "mailapi init", "password": password,
        "quota": 1, "active": True,
    }  # fmt: skip
    for route, body in (("/domains", {"domain": domain, "active": True} | limits),
                        ("/mailboxes", mailbox)):  # fmt: skip
        with contextlib.suppress(Exists):
            _ask(config, "POST", route, body)
    return bool(_ask(config, "GET", "/status?wait=5")["applied"])


def _send(host: Host, address: str, subject: str) -> bool:
    where = (host.ask("postconf", "-h", "inet_interfaces") or "").replace(",", " ").split()
    server = LOCAL if not where or where[0] in ("all", "loopback-only", "localhost") else where[0]
    text = f"From: <{address}>\r\nTo: <{address}>\r\nSubject: {subject}\r\n\r\nA test.\r\n"
    with smtplib.SMTP(server, 25, timeout=30) as smtp:
        smtp.sendmail(address, [address], text)
    return True


def _read(address: str, password: str, subject: str) -> bool:
    with _imap() as imap:
        imap.login(address, password)
        imap.select("INBOX", readonly=True)
        _, found = imap.search(None, "SUBJECT", subject)
        return bool(found and found[0])


def _imap() -> imaplib.IMAP4:
    """Over this host's own interface, where no certificate can have the right name."""
    try:
        return imaplib.IMAP4(LOCAL, timeout=30)
    except ConnectionRefusedError:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return imaplib.IMAP4_SSL(LOCAL, ssl_context=context, timeout=30)


def _wait(failure: str, attempt: Callable[[], bool]) -> None:
    """Until it works; servers that were just started refuse at first."""
    deadline, why = time.monotonic() + PATIENCE, "it is late"
    while time.monotonic() < deadline:
        try:
            if attempt():
                return
        except (OSError, smtplib.SMTPException, imaplib.IMAP4.error, MailapiError) as error:
            why = str(error)
        time.sleep(PAUSE)
    raise InitFailed(
        f"{failure} ({why}); see journalctl -n 50, and run mailapi init --apply again."
    )
