"""Asks Dovecot which generation of a mailbox's line it acts on.

    userdb = Userdb(Path("/run/dovecot/mailapi-userdb"))
    await userdb.ask("ann@example.com")  # 7; 0: no such field; None: no such user

The socket is a listener of Dovecot's auth service whose name ends in `-userdb`; it answers from
the same cache of the passwd-file that log-ins are checked against. Each question has a connection
of its own, which takes 0.2 ms, for two reasons. After a reload Dovecot keeps its old auth process
as long as somebody is connected to it: who stayed connected would learn what that one knows, not
what log-ins see. And a late answer cannot be taken for another question's.

Raises `DovecotStale` for whatever keeps it from an answer. It has no state and needs no closing.

Source: Dovecot's auth protocol for masters (version 1), here:

    -> VERSION 1 2                              the fields are separated by tabs
    -> USER 1 ann@example.com service=mailapi
    <- VERSION 1 1
    <- SPID 4711
    <- USER 1 ann@example.com mailapi_generation=7     or NOTFOUND 1, or FAIL 1
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

from .addresses import is_normal_token
from .errors import DovecotStale, Unrenderable

_FIELD: Final = re.compile(r"mailapi_generation=([0-9]{1,18})")
_RELOADING: Final = 0.1  # seconds; the sockets of Dovecot 2.3 are away for up to 6 ms

_NO_SOCKET: Final = (
    "Dovecot's userdb socket does not answer; start Dovecot, with the settings that "
    "`mailapi config dovecot` prints."
)
_NO_PERMISSION: Final = (
    "Dovecot's userdb socket cannot be opened: permission is denied; give its unix_listener the "
    "service's user as `user`, as `mailapi config dovecot` prints it."
)
_NO_ANSWER: Final = "Dovecot does not answer in time; see its log, and whether it is overloaded."
_BROKEN_OFF: Final = "Dovecot ends the connection without an answer; see its log."
_FAIL: Final = (
    "Dovecot could not look up a mailbox; see its log, and whether it may read this service's "
    "users file."
)
_GARBAGE: Final = (
    "Dovecot's answer is not of its userdb protocol; [dovecot] userdb_socket must name a "
    "unix_listener of its service auth that ends in -userdb."
)


class Userdb:
    """Asks at the unix socket; `timeout` in seconds, for connecting and the answer together."""

    def __init__(self, socket: Path, timeout: float = 2.0) -> None:
        self._socket = socket
        self._timeout = timeout

    async def ask(self, address: str) -> int | None:
        """The user's `mailapi_generation`, 0 if it has none; None if there is no such user.

        Raises DovecotStale; Unrenderable for an address not in normal form.
        """
        if not is_normal_token(address):
            raise Unrenderable("An address that is not in normal form cannot be looked up.")
        try:
            async with asyncio.timeout(self._timeout):
                return _generation(await self._answer(address))
        except TimeoutError as error:  # an OSError as well
            raise DovecotStale(_NO_ANSWER) from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise DovecotStale(_NO_SOCKET) from error
        except PermissionError as error:
            raise DovecotStale(_NO_PERMISSION) from error
        except (EOFError, OSError) as error:
            raise DovecotStale(_BROKEN_OFF) from error
        except ValueError as error:
            raise DovecotStale(_GARBAGE) from error

    async def _answer(self, address: str) -> list[str]:
        """The fields of the answer; tried once more, as a reload breaks off for some moments."""
        question = f"VERSION\t1\t2\nUSER\t1\t{address}\tservice=mailapi\n".encode()
        try:
            return await self._exchange(question)
        except (EOFError, ConnectionError, FileNotFoundError):
            await asyncio.sleep(_RELOADING)
            return await self._exchange(question)

    async def _exchange(self, question: bytes) -> list[str]:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            writer.write(question)
            while True:
                fields = (await reader.readuntil()).decode()[:-1].split("\t")
                if fields[0] == "VERSION" and fields[1:2] != ["1"]:
                    raise ValueError("another major version")
                if fields[0] not in ("VERSION", "SPID"):
                    return fields
        except asyncio.LimitOverrunError:
            raise ValueError("no end of the line") from None
        finally:
            writer.transport.abort()


def _generation(answer: list[str]) -> int | None:
    """Raises DovecotStale for FAIL, ValueError for what is no answer to question number 1."""
    if answer == ["NOTFOUND", "1"]:
        return None
    if answer[:2] == ["FAIL", "1"]:
        raise DovecotStale(_FAIL)
    if answer[:2] != ["USER", "1"] or len(answer) < 3:
        raise ValueError("no answer")
    for field in answer[3:]:
        if found := _FIELD.fullmatch(field):
            return int(found[1])
        if field.partition("=")[0] == "mailapi_generation":
            raise ValueError("no number")
    return 0
