"""Passwords and the hashes of every scheme that is taken over."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import bcrypt
import pytest
from hashes import HASHES

from mailapi import passwords, schemes

WRONG = [b"", b"secretpx", b"Secretpw", b"secretpw ", b"secretpw\0", b"\0", b"x" * 5000, b"\xff"]
DOVEADM = shutil.which("doveadm")


@pytest.mark.parametrize("stored", HASHES)
def test_the_password_of_a_hash(stored: str) -> None:
    """Each scheme takes the password that the hash was made of, and no other octets."""
    passwords.check_hash(stored)
    assert schemes.matches(b"secretpw", stored)
    assert [word for word in WRONG if schemes.matches(word, stored)] == []


@pytest.mark.parametrize("stored", HASHES)
def test_a_hash_that_was_changed(stored: str) -> None:
    """Another digit in a hash is the hash of another password."""
    place = stored.rindex("$") + 5 if "$" in stored else 20
    changed = f"{stored[:place]}{'b' if stored[place] == 'a' else 'a'}{stored[place + 1 :]}"
    assert not schemes.matches(b"secretpw", changed)


def test_every_scheme_that_is_taken_over() -> None:
    """What `check_hash` accepts can be verified."""
    assert passwords._FORMS.keys() == schemes._SCHEMES.keys()


def test_bcrypt_reads_72_octets() -> None:
    """A hash of a longer password, made elsewhere, is matched as Dovecot's log-in does it."""
    word = b"x" * 80
    stored = "{BLF-CRYPT}" + bcrypt.hashpw(word[:72], bcrypt.gensalt(4)).decode()
    assert schemes.matches(word, stored)
    assert not schemes.matches(word[:71], stored)


def test_nothing_has_the_unmatchable_hash() -> None:
    """Not even the empty password."""
    assert not schemes.matches(b"", passwords.UNMATCHABLE)
    assert not schemes.matches(b"secretpw", passwords.UNMATCHABLE)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C library lacks SHA-crypt, that is said, and not that the password is wrong."""
    monkeypatch.setattr(schemes, "_CRYPT_LIBRARY", "libcrypt.so.0")
    with pytest.raises(OSError, match="libcrypt"):
        schemes.matches(b"secretpw", HASHES[2])


@pytest.mark.skipif(not DOVEADM, reason="needs doveadm: apt-get install dovecot-core")
@pytest.mark.parametrize(
    "scheme", ["BLF-CRYPT", "ARGON2ID", "SHA512-CRYPT", "SHA256-CRYPT", "SSHA512", "SSHA256"]
)
@pytest.mark.parametrize("word", ["p\u00e4ssword", "x" * 72, "a b:c{}$"])
def test_new_hashes_of_dovecot(scheme: str, word: str) -> None:
    """What Dovecot makes of a password today is matched by it."""
    command = [DOVEADM or "doveadm", "pw", "-s", scheme, "-p", word]
    stored = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert schemes.matches(word.encode(), stored)
    assert not schemes.matches(word.encode()[1:], stored)


def test_crypt_has_room() -> None:
    """The room given to crypt_rn is no smaller than it wants, or no password would match."""
    library = ctypes.CDLL(schemes._CRYPT_LIBRARY)
    library.crypt_rn.restype = ctypes.c_char_p
    small = ctypes.create_string_buffer(1000)
    assert library.crypt_rn(b"x", b"$6$salt$", small, 1000) is None
    room = ctypes.create_string_buffer(schemes._CRYPT_DATA)
    assert library.crypt_rn(b"x", b"$6$salt$", room, schemes._CRYPT_DATA)
