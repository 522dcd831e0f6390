"""The reload hook behind a socket: systemd starts a small program as root for each need.

    hook = SocketHook(Path("/run/mailapi-reload.socket"), timeout=30)
    await hook.run("kick", "ann@example.com")

A `Hook` whose program is asked over a Unix socket: one connection a request, one line each way
(`systemd/mailapi-reload` tells the protocol); one request at a time. `run` raises `HookFailed` if
nobody listens, the answer is another than `ok`, or it has not come by the time limit. A request
that was sent is carried out even if nobody waits for its answer.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

import structlog

from .errors import HookFailed
from .hook import Hook

_LONGEST: Final = 512  # octets of an answer
_FAILED: Final = re.compile(r"failed (start|timeout|late|status -?[0-9]{1,5})")

_NO_SOCKET: Final = (
    "The reload socket does not answer; start it: systemctl enable --now mailapi-reload.socket."
)
_NO_PERMISSION: Final = (
    "The reload socket cannot be opened: permission is denied; its group must be the service's, "
    "its mode 0660."
)
_BROKEN_OFF: Final = (
    "The reload socket gives no answer; see why: journalctl -u mailapi-reload.service."
)
_REFUSED: Final = (
    "The reload socket does not know the request; let [reload] socket name that of "
    "mailapi-reload.socket, and install its program again."
)

_log = structlog.get_logger()


class SocketHook(Hook):
    """Asks at `socket`; `timeout` in seconds, per request, for connecting and the answer."""

    def __init__(self, socket: Path, timeout: float) -> None:
        super().__init__((), timeout)
        self._socket = socket

    @property
    def enabled(self) -> bool:
        """There is somebody to ask."""
        return True

    async def run(self, *words: str) -> None:
        """Returns when the answer is `ok`; raises HookFailed."""
        async with self._one:
            fault = await self._fault(" ".join(words))
        if fault:
            _log.warning("hook failed", request=words, reason=fault)
            raise HookFailed(fault)
        _log.debug("hook done", request=words)

    async def _fault(self, request: str) -> str:
        """What was wrong, empty if nothing was."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._exchange(f"{request}\n".encode())
        except TimeoutError:  # an OSError as well
            return (
                f"The reload socket did not answer within {self._timeout:g} seconds; see why: "
                "journalctl -u mailapi-reload.service, or raise [reload] timeout."
            )
        except (FileNotFoundError, ConnectionRefusedError):
            return _NO_SOCKET
        except PermissionError:
            return _NO_PERMISSION
        except (OSError, EOFError, asyncio.LimitOverrunError):
            return _BROKEN_OFF
        if answer == "ok":
            return ""
        if not _FAILED.fullmatch(answer):
            return _REFUSED
        return (
            f"The reload socket's program reports: {answer}; what it said is in its log: "
            "journalctl -u mailapi-reload.service."
        )

    async def _exchange(self, request: bytes) -> str:
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=_LONGEST)
        try:
            writer.write(request)
            return (await reader.readuntil()).decode("ascii", "replace")[:-1]
        finally:
            writer.transport.abort()
