"""The program of `[reload] command`: reloads Postfix or Dovecot, or ends a mailbox's sessions.

    hook = Hook(["/usr/local/sbin/mailapi-reload"], timeout=30)
    await hook.run("reload", "postfix")

The words become its last arguments, as they are: `reload postfix`, `reload dovecot` or
`kick ADDRESS`. No shell sees them. It runs in a session and process group of its own, with
/dev/null as input and nothing but PATH and LANG as environment; one at a time.

`run` raises `HookFailed` if the program cannot be started, does not exit with status 0, or has not
ended by the time limit. Then, and when the caller is cancelled, every process of its group is
killed. What it started in the background lives on otherwise, and is not waited for, whether or not
it keeps the output open. The first 4 KiB of the output go to the log (key `output`), the rest is
read and dropped; neither is ever part of a message.

Sources: setsid(2), kill(2), pidfd_open(2).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Final

import structlog

from .errors import HookFailed

KEPT: Final = 4096  # octets of the output, for the log
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CHUNK: Final = 65536
_REAPING: Final = 5.0  # seconds; a killed process ends at once, unless it hangs in the kernel

_log = structlog.get_logger()


class Hook:
    """Runs `command` with the words of a request; `timeout` in seconds, per run."""

    def __init__(self, command: Sequence[str], timeout: float) -> None:
        self._command = tuple(command)
        self._timeout = timeout
        self._one = asyncio.Lock()

    @property
    def enabled(self) -> bool:
        """Whether there is a command; without one `run` does nothing."""
        return bool(self._command)

    async def run(self, *words: str) -> None:
        """Returns when the program has ended with exit status 0; raises HookFailed."""
        if not self.enabled:
            return
        async with self._one:
            try:
                program = _Program([*self._command, *words])
            except OSError as error:
                _log.warning("hook failed", request=words, reason=error.strerror, output="")
                raise HookFailed(
                    "The reload hook cannot be started; let [reload] command name a program that "
                    "the service's user may run."
                ) from error
            async with program:
                fault = await self._watch(program)
        if fault:
            _log.warning("hook failed", request=words, reason=fault, output=program.output)
            raise HookFailed(f"The reload hook {fault}")
        _log.debug("hook done", request=words, output=program.output)

    async def _watch(self, program: _Program) -> str:
        """What was wrong with it, as the rest of a sentence; empty if nothing was."""
        try:
            async with asyncio.timeout(self._timeout):
                status = await program.ended()
        except TimeoutError:
            return (
                f"did not end within {self._timeout:g} seconds and was killed; mend it, "
                "or raise [reload] timeout."
            )
        if status < 0:
            return f"was ended by signal {-status}; the log has its output."
        if status > 0:
            return f"failed with exit status {status}; the log has its output."
        return ""


class _Program:
    """A running program; on leaving the block nothing of it is left that is not to be.

    Popen, not asyncio's subprocess: a cancelled start of that may leave processes of the group
    behind, and later versions of its `wait` wait for the end of the output too.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._kept = bytearray()
        self._pipe, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603  # argv is the administrator's, no shell
                argv,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=subprocess.STDOUT,
                env={
                    "PATH": os.environ.get("PATH", _PATH),
                    "LANG": os.environ.get("LANG", "C.UTF-8"),
                },
                start_new_session=True,
            )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(theirs)
        self._pidfd = os.pidfd_open(self._process.pid)
        os.set_blocking(self._pipe, False)
        asyncio.get_running_loop().add_reader(self._pipe, self._read)

    @property
    def output(self) -> str:
        """The first of its output, standard error included."""
        return self._kept.decode(errors="replace")

    async def ended(self) -> int:
        """Its exit status as Popen has it: negative for a signal."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        loop.add_reader(self._pidfd, done.set)
        try:
            await done.wait()
        finally:
            loop.remove_reader(self._pidfd)
        return self._process.wait()

    async def __aenter__(self) -> _Program:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_REAPING):
                        await self.ended()
        finally:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            os.close(self._pidfd)

    def _read(self) -> None:
        """Keep the first of the output and drop the rest, so that nobody waits to write."""
        try:
            data = os.read(self._pipe, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._pipe)
        self._kept += data[: KEPT - len(self._kept)]
