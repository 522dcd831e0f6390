"""Passwords: which ones are taken, which hashes are taken over, and hashing with bcrypt.

`check` and `check_hash` raise `ValueError` with a message that says what the text must be and
never repeats it. `check_hash` accepts the exact forms of crypt(5), of the PHC string of argon2 and
of Dovecot's salted digests; none of them can hold the colon or line break that ends a field of a
passwd-file. Costs are bounded, because every log-in pays them: a bcrypt cost of 16 takes four
seconds of a core, 31 would take a day and a half.

`Hasher` computes {BLF-CRYPT} hashes, and compares passwords with hashes, in threads of its own, at
a lower priority than the event loop; bcrypt works without the interpreter's lock. It raises `Busy`
when its queue is full and `ShuttingDown` after `close`.

Sources: crypt(5), RFC 9106, Dovecot's "Password Schemes".
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import os
import re
import threading
import time
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import bcrypt

from mailapi import schemes
from mailapi.errors import Busy, ShuttingDown

T = TypeVar("T")

MAX_BYTES: Final = 72  # bcrypt reads no further
SCHEME: Final = "{BLF-CRYPT}"
_NO_DIGEST: Final = "." * 52 + "/"
UNMATCHABLE: Final = f"{SCHEME}$2b$04${_NO_DIGEST}"
"""A hash in bcrypt's form that no password has: bcrypt's last digit holds four bits, never `/`."""

_MAX_COST: Final = 16  # bcrypt, two to the power of it
_MAX_ROUNDS: Final = 2_000_000  # SHA-crypt, about a second
_MAX_MEMORY: Final = 262_144  # argon2, KiB; Dovecot's processes get 256 MB unless told otherwise
_MAX_PASSES: Final = 16  # argon2, its t and p
_SECONDS_PER_ROUND: Final = 60e-6  # bcrypt, until the first hash was timed
_NICE: Final = 10

_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-9]|2[0-9]|3[01])\$[./A-Za-z0-9]{53}")
_SHA512_CRYPT = re.compile(
    r"\$6\$(?:rounds=([1-9][0-9]{3,8})\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}"
)
_SHA256_CRYPT = re.compile(
    r"\$5\$(?:rounds=([1-9][0-9]{3,8})\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{43}"
)
_NUMBER = "([1-9][0-9]{0,6})"
_ARGON2ID = re.compile(
    rf"\$argon2id\$v=19\$m={_NUMBER},t={_NUMBER},p={_NUMBER}"
    r"\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})"
)
_SCHEMED = re.compile(r"\{([A-Z0-9-]{1,16})\}(.{1,512})")

_BAD_HASH = (
    "must be a hash of the scheme {BLF-CRYPT}, {ARGON2ID}, {SHA512-CRYPT}, {SHA256-CRYPT}, "
    "{SSHA512} or {SSHA256} in its exact form and with an ordinary cost"
)


def check(text: str, min_length: int) -> None:
    """Raises ValueError unless `text` may be a password; `min_length` is in characters."""
    long_enough = len(text) >= min_length and not text.isspace()
    clean = not any(unicodedata.category(char) in ("Cc", "Cs") for char in text[: MAX_BYTES + 1])
    if not (long_enough and clean and len(text) <= MAX_BYTES >= len(text.encode())):
        raise ValueError(
            f"must be {min_length} characters to {MAX_BYTES} bytes of UTF-8, "
            "without control characters, and not only blanks"
        )


def check_hash(text: str) -> None:
    """Raises ValueError unless `text` is `{SCHEME}hash` in the exact form of a scheme above."""
    found = _SCHEMED.fullmatch(text)
    form = _FORMS.get(found[1]) if found else None
    if not found or not form or not form(found[2]):
        raise ValueError(_BAD_HASH)


class Hasher:
    """Hashes passwords with bcrypt at 2**rounds iterations; belongs to one event loop.

    At most `workers` hashes are computed and `queue` more wait, new ones and compared ones alike.
    """

    def __init__(self, rounds: int, workers: int = 2, queue: int = 256) -> None:
        self._rounds = rounds
        self._workers = workers
        self._most = workers + queue
        self._pending = 0
        self._closed = False
        self._seconds = _SECONDS_PER_ROUND * 2**rounds  # that one hash takes
        self._pool = ThreadPoolExecutor(workers, "bcrypt", initializer=_lower_priority)

    async def hash(self, password: str) -> str:
        """`{BLF-CRYPT}$2b$…` of a password that passed `check`.

        Raises Busy, with an estimate of the seconds until the queue is empty, and ShuttingDown.
        """
        stored, self._seconds = await self._queued(lambda: self._hash(password.encode()))
        return stored

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether `stored`, which passed `check_hash`, is a hash of the password.

        None, for a mailbox that does not exist, takes as long as a hash of ours, and is False.
        Raises Busy and ShuttingDown as `hash` does, and what `schemes.matches` does.
        """
        against = stored or f"{SCHEME}$2b${self._rounds:02}${_NO_DIGEST}"
        return await self._queued(lambda: schemes.matches(password.encode(), against))

    def close(self) -> None:
        """Drop the hashes that wait; those being computed end in their threads, for nobody."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _queued(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise ShuttingDown(retry_after=5)
        if self._pending >= self._most:
            raise Busy(retry_after=math.ceil(self._pending * self._seconds / self._workers))
        self._pending += 1
        try:
            return await self._in_pool(work)
        finally:
            self._pending -= 1

    async def _in_pool(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task and not task.cancelling():  # close() did it, not the caller
                raise ShuttingDown(retry_after=5) from None
            raise

    def _hash(self, password: bytes) -> tuple[str, float]:
        begin = time.perf_counter()
        digest = bcrypt.hashpw(password, bcrypt.gensalt(self._rounds)).decode()
        return SCHEME + digest, time.perf_counter() - begin


def _lower_priority() -> None:
    """On Linux each thread has its own priority; where that is forbidden, hashing goes on."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _is_bcrypt(text: str) -> bool:
    found = _BCRYPT.fullmatch(text)
    return found is not None and int(found[1]) <= _MAX_COST


def _is_sha_crypt(text: str, form: re.Pattern[str]) -> bool:
    found = form.fullmatch(text)
    return found is not None and int(found[1] or 5000) <= _MAX_ROUNDS


def _is_argon2id(text: str) -> bool:
    found = _ARGON2ID.fullmatch(text)
    if not found:
        return False
    memory, passes, lanes = (int(number) for number in found.groups()[:3])
    bounded = 8 * lanes <= memory <= _MAX_MEMORY and max(passes, lanes) <= _MAX_PASSES
    return bounded and all(_octets(part + "=" * (-len(part) % 4)) for part in found.groups()[3:])


def _is_salted(text: str, digest: int) -> bool:
    """A digest of that many octets and a salt of 4 to 64."""
    return 4 <= _octets(text) - digest <= 64


def _octets(text: str) -> int:
    """How many octets the canonical base64 `text` stands for; 0 if it is not canonical."""
    try:
        octets = base64.b64decode(text, validate=True)
    except ValueError:
        return 0
    return len(octets) if base64.b64encode(octets).decode() == text else 0


_FORMS: Final[dict[str, Callable[[str], bool]]] = {
    "BLF-CRYPT": _is_bcrypt,
    "ARGON2ID": _is_argon2id,
    "SHA512-CRYPT": lambda text: _is_sha_crypt(text, _SHA512_CRYPT),
    "SHA256-CRYPT": lambda text: _is_sha_crypt(text, _SHA256_CRYPT),
    "SSHA512": lambda text: _is_salted(text, 64),
    "SSHA256": lambda text: _is_salted(text, 32),
}
