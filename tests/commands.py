"""The commands as processes of their own, and a service that runs as one.

serving = Serving(tmp_path / "var")     # `mailapi serve --dev DIR`, once it answers
serving.ask("GET", "/status")           # -> (status, JSON)
serving.run("key", "list")              # a command for this service
serving.end()                           # -> its exit code
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

NOWHERE = "127.0.0.1"


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAILAPI_")}
    return kept | variables


def run(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mailapi", *map(str, arguments)],
        cwd=cwd,
        env=environment(PYTHONPATH=str(Path.cwd()), **variables),
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


class Serving:
    """`mailapi serve --dev DIR` on a free port; `says` is what it printed."""

    def __init__(self, directory: Path, *options: str, **variables: str) -> None:
        with socket.socket() as free:
            free.bind((NOWHERE, 0))
            self.port = free.getsockname()[1]
        self.directory = directory
        self.out = directory.with_suffix(".out").open("w+")
        self.variables = {"MAILAPI_SERVER__PORT": str(self.port)} | variables
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mailapi", "serve", "--dev", directory, *options],
            env=environment(PYTHONPATH=str(Path.cwd()), **self.variables),
            stdout=self.out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self.process.poll() is None, self.says
            assert time.monotonic() < deadline, self.says
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "/healthz", key=None)[0] == 200
        except OSError:
            return False

    @property
    def key(self) -> str:
        return (self.directory / "admin.key").read_text().strip()

    @property
    def says(self) -> str:
        return Path(self.out.name).read_text()

    def ask(
        self, method: str, path: str, body: Any = None, key: str | None = ""
    ) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://{NOWHERE}:{self.port}/api/v1{path}", method=method
        )
        if key is not None:
            request.add_header("Authorization", f"Bearer {key or self.key}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def run(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command for this service."""
        return run(*arguments, cwd=self.directory.parent, **{**self.variables, **variables})

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(30)
        self.out.close()
        return code
