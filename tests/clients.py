"""Mail programs that speak to a `Bed`: SMTP clients, and IMAP clients that poll for mail."""

from __future__ import annotations

import contextlib
import functools
import imaplib
import smtplib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from typing import Any

from layout import Layout

STRANGER, OWN_HOST = "127.0.0.1", "127.0.0.2"


def poll(condition: Callable[[], Any], timeout: float = 10, what: str = "a condition") -> Any:
    """The first true value of `condition`; TimeoutError if none comes in `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(0.005)
    return value


class Clients:
    layout: Layout

    # ---------- mail in ----------

    @contextlib.contextmanager
    def smtp(
        self, port: int | None = None, starttls: bool = False, own_host: bool = False
    ) -> Iterator[smtplib.SMTP]:
        """A session with port 25, or `layout.submission_port`, or over TLS `submissions_port`."""
        port = port or self.layout.smtp_port
        context = self.layout.client_context
        kind: Any = smtplib.SMTP
        if port == self.layout.submissions_port:
            kind = functools.partial(smtplib.SMTP_SSL, context=context)
        source = (OWN_HOST if own_host else STRANGER, 0)
        with kind(STRANGER, port, "client.test", timeout=20, source_address=source) as client:
            if starttls:
                client.starttls(context=context)
            client.ehlo()
            yield client

    def send(
        self,
        sender: str,
        to: str | Iterable[str],
        subject: str = "test",
        body: str = "A line.\r\n",
        auth: tuple[str, str] | None = None,
        port: int | None = None,
        starttls: bool = False,
        own_host: bool = False,
        declare_size: bool = True,
    ) -> str:
        """Send one message; with `auth` through submission. Return the queue id.

        Raises smtplib.SMTPResponseException with the first reply that is not 2xx, as `code, text`.
        """
        if auth:
            port = port or self.layout.submission_port
        starttls = starttls or (auth is not None and port != self.layout.submissions_port)
        text = f"From: {sender or '<>'}\r\nSubject: {subject}\r\n\r\n{body}".encode()
        with self.smtp(port, starttls, own_host) as client:
            if auth:
                client.login(*auth)
            _must(client.mail(sender, [f"SIZE={len(text)}"] if declare_size else []))
            for recipient in [to] if isinstance(to, str) else to:
                _must(client.docmd("RCPT", f"TO:<{recipient}>"))  # as it is: smtplib mends it
            return _must(client.data(text)).rpartition(" queued as ")[2]

    # ---------- mailboxes ----------

    @contextlib.contextmanager
    def imap(self, user: str, password: str) -> Iterator[imaplib.IMAP4]:
        """A session; raises imaplib.IMAP4.error where the log-in is refused."""
        client = imaplib.IMAP4(STRANGER, self.layout.imap_port, timeout=20)
        try:
            client.login(user, password)
            yield client
        finally:
            with contextlib.suppress(imaplib.IMAP4.error, OSError):
                client.logout()
            with contextlib.suppress(OSError):
                client.shutdown()  # where the server has ended it

    def logs_in(self, user: str, password: str) -> bool:
        with contextlib.suppress(imaplib.IMAP4.error), self.imap(user, password):
            return True
        return False

    def opened_by(self, user: str, *passwords: str) -> list[str]:
        """Which of these open the mailbox; all tried at once, for refusals come late."""
        with ThreadPoolExecutor(len(passwords)) as pool:
            taken = pool.map(lambda password: self.logs_in(user, password), passwords)
            return [password for password, opens in zip(passwords, taken, strict=True) if opens]

    def messages(
        self, user: str, password: str, subject: str, at_least: int = 1, timeout: float = 10
    ) -> list[bytes]:
        """The INBOX's messages of that subject, as soon as there are so many."""
        with self.imap(user, password) as client:
            return poll(
                lambda: (found := _fetch(client, subject)) and len(found) >= at_least and found,
                timeout,
                f"{at_least} messages {subject!r} for {user}",
            )

    def subjects(self, user: str, password: str) -> list[str]:
        """What is in the INBOX now; to show that something is not there, see `settled`."""
        with self.imap(user, password) as client:
            return [message_from_bytes(message)["Subject"] for message in _fetch(client)]


def _must(reply: tuple[int, bytes]) -> str:
    code, text = reply
    if code // 100 != 2:
        raise smtplib.SMTPResponseException(code, text)
    return text.decode()


def _fetch(client: imaplib.IMAP4, subject: str | None = None) -> list[bytes]:
    client.select("INBOX", readonly=True)
    found = client.search(None, *(("SUBJECT", f'"{subject}"') if subject else ("ALL",)))[1][0]
    numbers = found.split() if found else []
    return [client.fetch(number.decode(), "(BODY.PEEK[])")[1][0][1] for number in numbers]
