"""A process that outlives a sandbox which is killed, and then ends its servers and its directory.

    watchdog = Watchdog(place)
    watchdog.group(process.pid)     # a process group that goes with us
    watchdog.dismiss()              # everything is removed already

It reads from a pipe that only the sandbox holds open: when that ends without a farewell, the
sandbox is dead. It holds the lock of the directory, so nobody else begins there meanwhile. A
parent-death signal would not do: master(8) loses it when it changes its user; prctl(2).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from .place import Place, remove

FAREWELL: Final = b"done\n"


class Watchdog:
    def __init__(self, place: Place) -> None:
        command = [sys.executable, "-P", "-m", __name__, str(place.root), str(int(place.made))]
        self._process = subprocess.Popen(  # noqa: S603 - this module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            pass_fds=[place.lock],
            start_new_session=True,
            bufsize=0,
        )

    def group(self, number: int) -> None:
        self._tell(f"{number}\n".encode())

    def dismiss(self) -> None:
        self._tell(FAREWELL)
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # somebody killed it; we still remove all
            if self._process.stdin:
                self._process.stdin.write(line)


def main(root: str, made: str) -> None:
    lines = sys.stdin.buffer.readlines()
    if lines[-1:] == [FAREWELL]:
        return
    for line in lines:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(line), signal.SIGKILL)
    remove(Path(root), made == "1")


if __name__ == "__main__":
    main(*sys.argv[1:])
