"""An SMTP server that takes all mail, for the mail that leaves: `Sink(tls=...)`.

sink.messages   [Message(sender, recipients, data, tls), ...]
sink.wait(lambda m: m.subject == "x", timeout)   the first such message, or TimeoutError
"""

from __future__ import annotations

import socketserver
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes


@dataclass(frozen=True)
class Message:
    sender: str
    recipients: tuple[str, ...]
    data: bytes
    tls: bool

    @property
    def subject(self) -> str:
        return message_from_bytes(self.data)["Subject"]


class _Session(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        self._tls = False
        self._reply("220 sink.test ESMTP")
        while line := self.rfile.readline():
            verb, _, argument = line.decode("latin-1").strip().partition(" ")
            if verb.upper() == "QUIT":
                self._reply("221 2.0.0 Bye")
                return
            self._answer(verb.upper(), argument)

    def finish(self) -> None:
        super().finish()
        self.request.close()  # the TLS socket; the server closes the one beneath

    def _answer(self, verb: str, argument: str) -> None:
        if verb == "EHLO":
            offer = self.server.context and not self._tls
            self._reply(*["250-sink.test", *(["250-STARTTLS"] if offer else []), "250 8BITMIME"])
        elif verb == "STARTTLS" and self.server.context:
            self._reply("220 2.0.0 Go on")
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
            self._tls = True
            self.setup()
        elif verb == "DATA":
            self._reply("354 Go on")
            lines = iter(self.rfile.readline, b".\r\n")
            self.server.take(Message(self._from, tuple(self._to), b"".join(lines), self._tls))
            self._reply("250 2.0.0 Taken")
        else:
            if verb == "MAIL":
                self._from, self._to = _address(argument), list[str]()
            elif verb == "RCPT":
                self._to.append(_address(argument))
            self._reply("250 2.0.0 Ok")

    def _reply(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


def _address(argument: str) -> str:
    return argument[argument.index("<") + 1 : argument.index(">")]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    context: ssl.SSLContext | None
    take: Callable[[Message], None]


class Sink:
    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.messages: list[Message] = []
        self._arrival = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Session)
        self._server.context = tls
        self._server.take = self._take
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _take(self, message: Message) -> None:
        with self._arrival:
            self.messages.append(message)
            self._arrival.notify_all()

    def wait(self, wanted: Callable[[Message], bool], timeout: float = 10) -> Message:
        """The first message that is wanted; it may be here already."""
        deadline = time.monotonic() + timeout
        with self._arrival:
            while not (found := list(filter(wanted, self.messages))):
                if not self._arrival.wait(deadline - time.monotonic()):
                    raise TimeoutError("no such message left")
            return found[0]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
