"""What a check found, and what the checks are given.

A `Finding` says what is, what should be, and the command that mends it. `note` is worth a look and
no fault. No finding holds a password hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..config import Config
from ..setup.host import Host

Status = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    status: Status
    found: str
    expected: str = ""
    mend: str = ""

    def row(self) -> dict[str, str]:
        return {
            "check": self.check,
            "status": self.status,
            "is": self.found,
            "should_be": self.expected,
            "mend": self.mend,
        }


@dataclass(frozen=True, slots=True)
class Patient:
    """`wished` is what the files should hold, by `server/name`; empty if the state cannot tell."""

    host: Host
    config: Config
    wished: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def keys(self, file: str) -> list[str]:
        """The keys of a file, with what ends them taken off."""
        separator = b":" if file.startswith("dovecot/") else b" "
        lines = self.wished.get(file, b"").splitlines()
        return [line.split(separator, 1)[0].decode("ascii") for line in lines]


Check = Callable[[Patient], Iterator[Finding]]


def sample(keys: list[str], most: int = 10) -> list[str]:
    """Some of them, spread evenly."""
    return keys[:: max(1, -(-len(keys) // most))]


def judge(
    check: str, good: bool, found: str, expected: str, mend: str, status: Status = "wrong"
) -> Finding:
    return Finding(check, "ok", found) if good else Finding(check, status, found, expected, mend)
