"""Passwords, hashes taken over, and the hashing threads."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator

import bcrypt
import pytest
from hashes import HASHES
from hypothesis import given
from hypothesis import strategies as st

from mailapi import passwords
from mailapi.errors import Busy, ShuttingDown

ANY_TEXT = st.text(st.characters(exclude_categories=()))
DOVEADM = shutil.which("doveadm")

BCRYPT, ARGON2ID, SHA512_CRYPT, SHA256_CRYPT, SSHA512, SSHA256 = HASHES


@pytest.fixture
async def hasher() -> AsyncIterator[passwords.Hasher]:
    hasher = passwords.Hasher(4, workers=1, queue=2)
    yield hasher
    hasher.close()


@pytest.mark.parametrize(
    "text",
    [
        "12345678",
        "\u00e4" * 36,
        "x" * 72,
        " 2345678",
        "{PLAIN}secret",
        "a:b c\u00a0d\u2028e",
        "\U0001f511" * 18,
    ],
)
def test_passwords_taken(text: str) -> None:
    """8 characters to 72 bytes; blanks inside, colons and what looks like a hash are literal."""
    passwords.check(text, 8)


@pytest.mark.parametrize(
    "text",
    [
        *["", "1234567", "x" * 73, "\u00e4" * 37, " " * 8, "\u00a0\u2003" * 4, "1234567\n"],
        *["1234\t5678", "1234567\0", "1234567\x7f", "1234567\x85", "1234567\ud800", "x" * 10**6],
    ],
)
def test_passwords_refused(text: str) -> None:
    """Short, long, blank and unprintable passwords are refused, and not repeated."""
    with pytest.raises(ValueError) as caught:
        passwords.check(text, 8)
    assert type(caught.value) is ValueError
    assert len(text) < 2 or text not in str(caught.value)


@given(ANY_TEXT)
def test_a_password_taken_can_be_hashed(text: str) -> None:
    """bcrypt raises for no password that passes the check."""
    try:
        passwords.check(text, 1)
    except ValueError:
        return
    assert bcrypt.checkpw(text.encode(), bcrypt.hashpw(text.encode(), bcrypt.gensalt(4)))


@pytest.mark.parametrize(
    "text",
    [
        *HASHES,
        passwords.UNMATCHABLE,
        BCRYPT.replace("$2y$05", "$2a$16"),
        BCRYPT.replace("$2y$05", "$2b$04"),
        SHA512_CRYPT.replace("$6$", "$6$rounds=656000$"),
        SHA256_CRYPT.replace("$5$", "$5$rounds=1000$"),
        ARGON2ID.replace("p=1", "p=4").replace("m=65536", "m=262144"),
    ],
)
def test_hashes_taken(text: str) -> None:
    """The hashes that Dovecot makes, and the costs that are in use."""
    passwords.check_hash(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secretpw",
        "{PLAIN}secretpw",
        "{CRYPT}" + BCRYPT[11:],
        "{MD5-CRYPT}$1$abcdefgh$" + "a" * 22,
        "{blf-crypt}" + BCRYPT[11:],
        "{BLF-CRYPT.b64}" + BCRYPT[11:],
        BCRYPT[11:],
        " " + BCRYPT,
        BCRYPT + "\n",
        BCRYPT + ":",
        BCRYPT[:-1],
        BCRYPT + "a",
        BCRYPT.replace("$2y$", "$2x$"),
        BCRYPT.replace("$05$", "$5$"),
        BCRYPT.replace("$05$", "$03$"),
        BCRYPT.replace("$05$", "$17$"),
        BCRYPT.replace("$05$", "$31$"),
        BCRYPT.replace("$05$", "$\u0660\u0665$"),  # digits, but not ASCII
        BCRYPT.replace("wp/", "wp:"),
        ARGON2ID.replace("argon2id$", "argon2i$"),
        ARGON2ID.replace("v=19", "v=16"),
        ARGON2ID.replace("v=19$", ""),
        ARGON2ID.replace("m=65536", "m=262145"),
        ARGON2ID.replace("m=65536", "m=7"),
        ARGON2ID.replace("m=65536", "m=065536"),
        ARGON2ID.replace("t=3", "t=17"),
        ARGON2ID.replace("t=3", "t=0"),
        ARGON2ID.replace("p=1", "p=17"),
        ARGON2ID.replace("m=65536,t=3", "t=3,m=65536"),
        ARGON2ID + "=",
        ARGON2ID[:-1] + "R",  # bits beyond the last octet
        ARGON2ID.replace("$45R8NCpAYNO9ZG1YCQZ3vA$", "$45R8NCpAYN$"),
        SHA512_CRYPT[:-1],
        SHA512_CRYPT + "\n",
        SHA512_CRYPT.replace("$6$", "$5$"),
        SHA512_CRYPT.replace("$6$", "$6$a"),  # a salt of 17
        SHA512_CRYPT.replace("$6$", "$6$rounds=999$"),
        SHA512_CRYPT.replace("$6$", "$6$rounds=05000$"),
        SHA512_CRYPT.replace("$6$", "$6$rounds=2000001$"),
        SHA256_CRYPT.replace("{SHA256", "{SHA512"),
        SHA256_CRYPT.replace("$QRJ", "$Q:J"),
        SSHA512[:-1],
        SSHA512 + "=",
        SSHA512.replace("hLQ=", "hLR="),  # bits beyond the last octet
        SSHA512.replace("SSHA512", "SSHA256").replace("=", "A" * 80),
        SSHA256 + "\n",
        SSHA256.replace("SSHA256", "SSHA512"),
        "{SSHA256}" + "A" * 44,  # a salt of one octet
        "{SSHA256}msvxsjfyLY5MrfAynKWcCMofxiHwB4qCqi9j_6RSTIlFpfxO",
        "{SSHA256}" + "A" * 1_000_000,
    ],
)
def test_hashes_refused(text: str) -> None:
    """Other schemes, other cases, other lengths and excessive costs are refused."""
    with pytest.raises(ValueError) as caught:
        passwords.check_hash(text)
    assert type(caught.value) is ValueError
    assert len(text) < 2 or text not in str(caught.value)


@given(st.sampled_from(HASHES), st.integers(0, 200), ANY_TEXT.filter(len))
def test_no_hash_breaks_a_line(text: str, place: int, inserted: str) -> None:
    """Whatever is put into a hash, what passes has no colon, blank or end of line."""
    changed = text[:place] + inserted + text[place:]
    try:
        passwords.check_hash(changed)
    except ValueError:
        return
    assert changed.isascii()
    assert changed.isprintable()
    assert not set(changed) & set(": ")


@pytest.mark.skipif(not DOVEADM, reason="needs doveadm: apt-get install dovecot-core")
@pytest.mark.parametrize("text", [*HASHES, passwords.UNMATCHABLE])
def test_dovecot_agrees(text: str) -> None:
    """Dovecot verifies the hashes, and says no to the unmatchable one without an error."""
    done = subprocess.run(
        [DOVEADM or "doveadm", "pw", "-t", text, "-p", "secretpw"], capture_output=True, text=True
    )
    if text == passwords.UNMATCHABLE:
        assert "Password mismatch" in done.stderr
    else:
        assert done.returncode == 0
        assert "(verified)" in done.stdout


def test_the_unmatchable_hash_is_none_that_bcrypt_makes() -> None:
    """bcrypt reads it, and its last digit is one that no bcrypt hash ends in."""
    stored = passwords.UNMATCHABLE.removeprefix(passwords.SCHEME).encode()
    assert not bcrypt.checkpw(b"", stored)
    assert not bcrypt.checkpw(b"secretpw", stored)
    ends = {bcrypt.hashpw(b"x", bcrypt.gensalt(4))[-1:] for _ in range(300)}
    assert ends <= {char.encode() for char in ".CGKOSWaeimquy26"}
    assert stored[-1:] not in ends


async def test_hash_is_bcrypt_with_the_rounds_given(hasher: passwords.Hasher) -> None:
    """The result passes our own check, holds the cost, and matches the password."""
    stored = await hasher.hash("p\u00e4ssword")
    passwords.check_hash(stored)
    assert stored.startswith("{BLF-CRYPT}$2b$04$")
    assert bcrypt.checkpw("p\u00e4ssword".encode(), stored.removeprefix("{BLF-CRYPT}").encode())


async def test_verify(hasher: passwords.Hasher) -> None:
    """The password of a hash and no other; none where there is no mailbox."""
    stored = await hasher.hash("p\u00e4ssword")
    assert await hasher.verify("p\u00e4ssword", stored)
    assert not await hasher.verify("password", stored)
    assert not await hasher.verify("password", None)
    assert await hasher.verify("secretpw", SSHA512)


async def test_no_mailbox_costs_as_much(
    hasher: passwords.Hasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no mailbox, bcrypt works at the cost of our own hashes."""
    costs: list[bytes] = []
    checkpw = bcrypt.checkpw

    def counting(password: bytes, digest: bytes) -> bool:
        costs.append(digest[:7])
        return checkpw(password, digest)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    await hasher.verify("password", await hasher.hash("password"))
    await hasher.verify("password", None)
    assert costs == [b"$2b$04$"] * 2


async def test_verifying_waits_in_the_same_queue(
    hasher: passwords.Hasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New hashes and compared ones share the threads and the queue, and its end."""
    gate = threading.Event()
    monkeypatch.setattr(bcrypt, "checkpw", lambda *args: gate.wait(30))
    tasks = [asyncio.create_task(hasher.verify("password", BCRYPT)) for _ in range(3)]
    await asyncio.sleep(0)
    for work in (hasher.hash("password"), hasher.verify("password", None)):
        with pytest.raises(Busy):
            await work
    gate.set()
    assert await asyncio.gather(*tasks) == [True] * 3
    hasher.close()
    with pytest.raises(ShuttingDown):
        await hasher.verify("password", None)


async def test_a_full_queue_is_busy(
    hasher: passwords.Hasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker and a queue of two take three hashes; the fourth learns when to come again."""
    gate = threading.Event()
    hashpw = bcrypt.hashpw

    def waiting(password: bytes, salt: bytes) -> bytes:
        gate.wait(30)
        return hashpw(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", waiting)
    tasks = [asyncio.create_task(hasher.hash("password")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Busy) as caught:
        await hasher.hash("password")
    assert (caught.value.retry_after or 0) >= 1
    gate.set()
    assert len(set(await asyncio.gather(*tasks))) == 3
    assert await hasher.hash("password")


async def test_close_refuses_what_waits(
    hasher: passwords.Hasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashes in the queue and later ones are told that the service stops; none is cancelled."""
    gate = threading.Event()
    monkeypatch.setattr(bcrypt, "hashpw", lambda *args: b"$2b$" if gate.wait(30) else b"")
    tasks = [asyncio.create_task(hasher.hash("password")) for _ in range(3)]
    await asyncio.sleep(0)
    hasher.close()
    gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results][1:] == [ShuttingDown, ShuttingDown]
    with pytest.raises(ShuttingDown):
        await hasher.hash("password")


async def test_a_cancelled_caller_stays_cancelled(hasher: passwords.Hasher) -> None:
    """A caller's own cancellation is not turned into an error, and frees its place."""
    for _ in range(5):
        task = asyncio.create_task(hasher.hash("password"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await hasher.hash("password")


async def test_hashing_has_a_lower_priority(
    hasher: passwords.Hasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads are nicer than the event loop, whose own priority stays."""
    seen: list[int] = []

    def look(password: bytes, salt: bytes) -> bytes:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return salt

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    monkeypatch.setattr(bcrypt, "hashpw", look)
    await hasher.hash("password")
    assert seen == [10]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


async def test_hashing_works_where_priorities_are_forbidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sandbox that denies setpriority costs smoothness, not the service."""

    def deny(*args: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", deny)
    hasher = passwords.Hasher(4)
    assert await hasher.hash("password")
    hasher.close()
