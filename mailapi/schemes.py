"""Whether a password has a hash, in each of the schemes that `passwords.check_hash` takes.

    matches(b"secret", "{SSHA256}…")    # True or False; takes as long as the hash's cost says

Each scheme is computed by the library that others trust with it: bcrypt by the package that makes
our own hashes, argon2 by cryptography (OpenSSL), SHA-crypt by crypt(3) of the C library, which is
what Dovecot calls, too. All of these let other threads run meanwhile.

Sources: crypt(3), RFC 9106, Dovecot's "Password Schemes".
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import bcrypt

_BCRYPT_READS: Final = 72  # octets; crypt(3) ignores the others, the package refuses them
_CRYPT_LIBRARY: Final = "libcrypt.so.1"
_CRYPT_DATA: Final = 32_768  # octets, sizeof (struct crypt_data)


def matches(password: bytes, stored: str) -> bool:
    """Whether `stored`, which passed `check_hash`, is a hash of the password.

    Raise `OSError` for SHA-crypt where the C library's libcrypt.so.1 is missing.
    """
    scheme, _, digest = stored[1:].partition("}")
    if b"\0" in password:  # which no log-in can send, and where crypt(3) would stop reading
        return False
    return _SCHEMES[scheme](password, digest)


def _bcrypt(password: bytes, digest: str) -> bool:
    return bcrypt.checkpw(password[:_BCRYPT_READS], digest.encode())


def _argon2id(password: bytes, digest: str) -> bool:
    # Imported when a hash asks for it: few hosts have one, and it takes some megabytes.
    from cryptography.exceptions import InvalidKey
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    try:
        Argon2id.verify_phc_encoded(password, digest)
    except InvalidKey:
        return False
    return True


def _sha_crypt(password: bytes, digest: str) -> bool:
    library = ctypes.CDLL(_CRYPT_LIBRARY)
    library.crypt_rn.restype = ctypes.c_char_p
    room = ctypes.create_string_buffer(_CRYPT_DATA)
    made = library.crypt_rn(password, digest.encode(), room, _CRYPT_DATA)
    return made is not None and hmac.compare_digest(made, digest.encode())


def _salted(name: str) -> Callable[[bytes, str], bool]:
    """Base64 of a digest of the password with its salt, and the salt behind it."""
    size = hashlib.new(name).digest_size

    def check(password: bytes, digest: str) -> bool:
        octets = base64.b64decode(digest)
        made = hashlib.new(name, password + octets[size:]).digest()
        return hmac.compare_digest(made, octets[:size])

    return check


_SCHEMES: Final[dict[str, Callable[[bytes, str], bool]]] = {
    "BLF-CRYPT": _bcrypt,
    "ARGON2ID": _argon2id,
    "SHA512-CRYPT": _sha_crypt,
    "SHA256-CRYPT": _sha_crypt,
    "SSHA512": _salted("sha512"),
    "SSHA256": _salted("sha256"),
}
