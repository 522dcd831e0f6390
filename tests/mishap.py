"""What goes wrong inside the service under test: it is killed at a point, or a call fails.

A `Fault` is put into the process before the command begins, in place of the function that it names.
The service's own code knows nothing of it. It takes effect while the file `armed` exists, so that a
test can prepare a state first.

    Fault("mailapi.batch:run", armed)                       killed before the call
    Fault("mailapi.files:stage", armed, when="after")       killed after it
    Fault("sql:COMMIT", armed)                              before that statement of the writer
    Fault("os:rename", armed, errno=errno.EIO)              each call fails instead
    Fault(limits={"mailapi.rounds:LATE": 0.5})              nothing but shorter limits of time
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Fault:
    """At the `nth` call of `where`, or each call with `errno`; `only`: of files so named."""

    where: str = ""
    armed: Path = Path("/nonexistent")
    when: str = "before"
    nth: int = 1
    errno: int = 0
    only: str = ""
    migrations: Path | None = None  # in place of the program's own
    limits: dict[str, Any] = field(default_factory=dict)  # constants of modules
    calls: int = 0

    def install(self) -> None:
        if self.migrations is not None:
            importlib.import_module("mailapi.schema").MIGRATIONS = self.migrations
        for constant, value in self.limits.items():
            _replace(*constant.split(":"), lambda _, value=value: value)
        module, _, name = self.where.partition(":")
        if not module:
            return
        if module == "sql":
            _trace(self._statement(name))
        elif self.when == "inside":
            _replace(module, name, self._inside)
        else:
            _replace(module, name, self._around)

    def _around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def call(*args: Any, **kw: Any) -> Any:
            here = self._here(args)
            if here and self.errno:
                raise OSError(self.errno, os.strerror(self.errno))
            if here and self.when == "before":
                die()
            result = real(*args, **kw)
            if here and self.when == "after":
                die()
            return result

        return call

    def _inside(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """For `LmdbMap._commit(env, puts, gone)`: when all deletes are done, before the puts."""

        def call(owner: Any, env: Any, puts: Any, gone: Iterable[bytes]) -> Any:
            def deletes() -> Iterator[bytes]:
                yield from gone
                if self._here((owner,)):
                    die()

            return real(owner, env, puts, deletes())

        return call

    def _statement(self, text: str) -> Callable[[str], None]:
        def traced(sql: str) -> None:
            if sql.strip().startswith(text) and self._here(()):
                die()

        return traced

    def _here(self, args: tuple[Any, ...]) -> bool:
        if not self.armed.exists() or (self.only and not _named(args, self.only)):
            return False
        self.calls += 1
        return bool(self.errno) or self.calls == self.nth


def _named(args: tuple[Any, ...], name: str) -> bool:
    """The call is about the file of that name: a path, or a map that knows its name."""
    return any(Path(str(getattr(arg, "_name", arg))).name == name for arg in args[:1])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _replace(module: str, name: str, wrap: Callable[[Any], Any]) -> None:
    owner: Any = importlib.import_module(module)
    *classes, last = name.split(".")
    for part in classes:
        owner = getattr(owner, part)
    setattr(owner, last, wrap(getattr(owner, last)))


def _trace(traced: Callable[[str], None]) -> None:
    """Every statement of a connection that writes passes by: `migrate` sees each of them first."""

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def migrate(db: sqlite3.Connection, path: Path) -> Any:
            db.set_trace_callback(traced)
            return real(db, path)

        return migrate

    _replace("mailapi.schema", "migrate", wrap)
