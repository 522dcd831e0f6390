"""Passwords of mailboxes: which are taken, how they are stored, and that nobody sees them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

import bcrypt
import pytest
from restapi import HASH, Api, domain, mailbox

SALT = b"salt"


def stored(api: Api, email: str) -> str:
    """The hash, from the database."""
    ((found,),) = api.rows("SELECT password_hash FROM mailbox WHERE email = ?", email)
    return str(found)


def matches(api: Api, email: str, password: str) -> bool:
    """Whether the hash that Dovecot reads is the password's."""
    line = next(line for line in api.file("users").splitlines() if line.startswith(f"{email}:"))
    digest = line.split(":")[1].removeprefix("{BLF-CRYPT}")
    return bcrypt.checkpw(password.encode(), digest.encode())


@pytest.mark.parametrize(
    "password",
    [
        "12345678",
        "x" * 72,
        "ü" * 36,
        "🙂" * 18,
        " leading and trailing ",
        "{PLAIN}secret",
        HASH[:72],
        "$2b$04$" + "." * 53,
        "{SHA512-CRYPT}$6$x$y",
        "colon:comma,#hash'\"\\%u{{x}}",
        "${password}",
        "\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0x",
    ],
)
async def test_passwords_are_taken_literally(api: Api, password: str) -> None:
    """Text that looks like a hash or a command is a password like any other, in POST and PUT."""
    await api.made("/domains", domain())
    await api.made("/mailboxes", mailbox("a@example.com", password=password))
    assert matches(api, "a@example.com", password)
    await api.changed("/mailboxes/a@example.com", {"password": "another one"})
    assert not matches(api, "a@example.com", password)
    await api.changed("/mailboxes/a@example.com", {"password": password})
    assert matches(api, "a@example.com", password)


@pytest.mark.parametrize(
    "password",
    [
        "",
        "1234567",
        "ü" * 7,
        "x" * 73,
        "x" * 999,
        "x" * 1001,
        "ü" * 37,
        "x" * 71 + "ü",
        "        ",
        "\u3000" * 8,
        "pass\0word",
        "pass\nword",
        "password\x7f",
        "password\x85",
    ],
)
async def test_passwords_refused(still: Api, password: str) -> None:
    """8 characters to 72 bytes, no control characters, not only blanks; else nothing changes."""
    answer = await still.post("/mailboxes", mailbox("c@example.com", password=password))
    answer.fault(400, "invalid", "password")
    assert len(password) < 8 or password.strip() == "" or password not in answer.text
    answer = await still.put("/mailboxes/ann@example.com", {"password": password})
    answer.fault(400, "invalid", "password")


async def test_min_length_is_configured(start: Any) -> None:
    """[passwords] min_length is what the message says."""
    api = await start(passwords__min_length=12)
    await api.made("/domains", domain())
    answer = await api.post("/mailboxes", mailbox("a@example.com", password="x" * 11))
    assert "12 characters" in answer.fault(400, "invalid", "password")
    await api.made("/mailboxes", mailbox("a@example.com", password="x" * 12))


def _salted(name: str, digest: str) -> str:
    raw = hashlib.new(digest, b"secret" + SALT).digest() + SALT
    return f"{{{name}}}{base64.b64encode(raw).decode()}"


GOOD = [
    HASH,
    "{BLF-CRYPT}$2y$10$" + "a" * 53,
    "{BLF-CRYPT}$2a$05$" + "a" * 53,
    "{SHA512-CRYPT}$6$salt$" + "a" * 86,
    "{SHA512-CRYPT}$6$rounds=5000$salt$" + "a" * 86,
    "{SHA256-CRYPT}$5$salt$" + "a" * 43,
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$" + "A" * 22 + "$" + "A" * 43,
    _salted("SSHA512", "sha512"),
    _salted("SSHA256", "sha256"),
]


@pytest.mark.parametrize("text", GOOD)
async def test_hashes_taken(api: Api, text: str) -> None:
    """Each of the six schemes goes into Dovecot's file as it came."""
    await api.made("/domains", domain())
    await api.made("/mailboxes", mailbox("a@example.com", password_hash=text))
    assert stored(api, "a@example.com") == text
    assert f"a@example.com:{text}:" in api.file("users")
    await api.changed("/mailboxes/a@example.com", {"password_hash": HASH})
    assert stored(api, "a@example.com") == HASH


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{PLAIN}secret12",
        "{CLEARTEXT}secret12",
        "{plain}secret12",
        "{CRYPT}$6$salt$" + "a" * 86,
        "{MD5-CRYPT}$1$x$" + "a" * 22,
        "{SSHA}" + "a" * 40,
        "{PLAIN-MD5}" + "a" * 32,
        "{LDAP-MD5}aaaa",
        "{BLF-CRYPT.HEX}" + "a" * 60,
        "{blf-crypt}" + HASH[11:],
        HASH[11:],
        HASH + "a",
        HASH[:-1],
        HASH + ":x",
        HASH + "\n",
        HASH + "\nroot:{PLAIN}x",
        "{BLF-CRYPT}$2b$31$" + "a" * 53,
        "{BLF-CRYPT}{PLAIN}secret",
        "{SHA512-CRYPT}$6$rounds=999999999$salt$" + "a" * 86,
        "{SHA512-CRYPT}$6$s:lt$" + "a" * 86,
        "{ARGON2ID}$argon2i$v=19$m=65536,t=3,p=1$" + "a" * 22 + "$" + "a" * 43,
        "{ARGON2ID}$argon2id$v=19$m=4294967295,t=3,p=1$" + "a" * 22 + "$" + "a" * 43,
        "{SSHA512}" + "a" * 40,
        "{SSHA256}" + "!" * 48,
        "{" * 500,
        "x" * 1001,
    ],
)
async def test_hashes_refused(still: Api, text: str) -> None:
    """Other schemes, other forms and ruinous costs are refused and not repeated."""
    answer = await still.post("/mailboxes", mailbox("c@example.com", password_hash=text))
    answer.fault(400, "invalid", "password_hash")
    assert len(text) < 8 or text not in answer.text
    answer = await still.put("/mailboxes/ann@example.com", {"password_hash": text})
    answer.fault(400, "invalid", "password_hash")


async def test_a_password_or_a_hash_not_both(filled: Api) -> None:
    """Which of the two counts would be a guess."""
    both = mailbox("c@example.com", password="x" * 8) | {"password_hash": HASH}
    (await filled.post("/mailboxes", both)).fault(400, "invalid", "password_hash")
    both = {"password": "x" * 8, "password_hash": HASH}
    answer = await filled.put("/mailboxes/ann@example.com", both)
    answer.fault(400, "invalid", "password_hash")


async def test_hashes_are_for_unrestricted_keys(filled: Api) -> None:
    """A key limited to domains may set passwords, but no hashes."""
    limited = filled.key(domains=["example.com"])
    (await limited.post("/mailboxes", mailbox("c@example.com"))).fault(403, "forbidden")
    answer = await limited.put("/mailboxes/ann@example.com", {"password_hash": HASH})
    answer.fault(403, "forbidden")
    await limited.changed("/mailboxes/ann@example.com", {"password": "long enough"})


async def test_the_same_password_is_a_change(filled: Api) -> None:
    """A password that is set again gets a new salt and a new line for Dovecot."""
    await filled.changed("/mailboxes/ann@example.com", {"password": "long enough"})
    first, generation = stored(filled, "ann@example.com"), filled.generation()
    await filled.changed("/mailboxes/ann@example.com", {"password": "long enough"})
    assert stored(filled, "ann@example.com") != first
    assert filled.generation() == generation + 1


async def test_too_many_hashes(filled: Api) -> None:
    """503 with Retry-After once the queue is full, and the other requests are served."""
    hasher = filled.context.changes._hasher
    hasher._most = 2
    bodies = [mailbox(f"m{number}@example.com", password="long enough") for number in range(12)]
    answers = await asyncio.gather(*(filled.post("/mailboxes", body) for body in bodies))
    refused = [answer for answer in answers if answer.status != 201]
    assert refused
    for answer in refused:
        answer.fault(503, "busy")
        assert int(answer.headers["Retry-After"]) >= 1
    assert len((await filled.get("/mailboxes")).json) == 2 + len(answers) - len(refused)


async def test_nobody_sees_it(filled: Api) -> None:
    """No read and no file of ours holds the password; no read but Dovecot's file its hash."""
    secret = "canary-in-the-mine"
    await filled.made("/mailboxes", mailbox("c@example.com", password=secret))
    digest = stored(filled, "c@example.com")
    for path in ("/mailboxes", "/mailboxes/c@example.com", "/changes", "/domains", "/status"):
        answer = await filled.get(path)
        assert answer.status == 200
        assert secret not in answer.text
        assert digest not in answer.text
        assert "password" not in answer.text
    for (table,) in filled.rows("SELECT name FROM sqlite_master WHERE type = 'table'"):
        for row in filled.rows(f"SELECT * FROM {table}"):  # its own name
            assert secret not in str(row)
            assert table == "mailbox" or digest not in str(row)
