"""What the doctor makes of what it is told; tests/host shows it at work."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from mailapi import config
from mailapi.doctor import dovecot, files, finding, postfix, system

HASH = b"{BLF-CRYPT}$2b$12$abcdefghijklmnopqrstuv"
HOURS = datetime.timedelta(hours=1)


def line(name: bytes, secret: bytes = HASH) -> bytes:
    return name + b":" + secret + b"::::::userdb_mailapi_generation=7\n"


def test_a_diff_has_no_hash():
    """What is missing and what is too much is shown, without what the passwords are made of."""
    both = line(b"both@example.com")
    has = both + line(b"gone@example.com")
    wished = both + line(b"new@example.com", b"{ARGON2ID}$argon2id$v=19$m=65536$abc")
    lines = files.difference(has, wished)
    assert lines == [
        "-gone@example.com:(hash)::::::userdb_mailapi_generation=7",
        "+new@example.com:(hash)::::::userdb_mailapi_generation=7",
    ]


def test_another_hash_is_a_difference():
    """It shows, though both lines look alike."""
    lines = files.difference(line(b"a@example.com"), line(b"a@example.com", b"{SHA512-CRYPT}$6$x"))
    assert [text[0] for text in lines] == ["-", "+"]
    assert not [text for text in lines if "$" in text]


def test_a_long_diff_is_cut():
    """The first lines and how many more there are."""
    lines = files.difference(b"", b"".join(b"a%d OK\n" % n for n in range(100)))
    assert (len(lines), lines[-1]) == (files.MOST + 1, "and 80 more lines")


@pytest.mark.parametrize(
    ("restrictions", "closed"),
    [
        ("permit_mynetworks permit_sasl_authenticated reject_unauth_destination", True),
        ("permit_mynetworks permit_sasl_authenticated defer_unauth_destination", True),
        ("permit_sasl_authenticated reject", True),
        ("check_client_access hash:/etc/postfix/x reject_unauth_destination", True),
        ("permit reject_unauth_destination", False),
        ("permit_mynetworks permit", False),
        ("permit_mynetworks", False),
        ("", False),
    ],
)
def test_open_relay(restrictions, closed):
    """Closed is what refuses strangers before anything lets them in."""
    assert postfix._closed(restrictions.split()) is closed


@pytest.mark.parametrize(
    ("network", "wide"),
    [
        ("127.0.0.0/8", False),
        ("10.0.0.0/8", False),
        ("[::ffff:127.0.0.0]/104", False),
        ("[::1]/128", False),
        ("0.0.0.0/0", True),
        ("[::]/0", True),
        ("128.0.0.0/1", True),
        ("hash:/etc/postfix/networks", False),
    ],
)
def test_wide_networks(network, wide):
    """A network of half the world is none of this host."""
    assert postfix._wide(network) is wide


@pytest.mark.parametrize(
    ("has", "should", "holds"),
    [
        ("a b", "a b", True),
        ("x a b", "a b", True),
        ("a", "a b", False),
        (None, "a", False),
        ("", "", True),
        ("a", "", False),
        (None, "", False),
    ],
)
def test_settings_of_ones_own(has, should, holds):
    """What the administrator adds is no fault; what is missing is one."""
    assert postfix._holds(has, should) is holds


def openssl(begin: datetime.timedelta, end: datetime.timedelta, issuer: str = "CA") -> str:
    now = datetime.datetime.now(datetime.UTC)
    dates = [f"{now + delta:%b %e %H:%M:%S %Y} GMT" for delta in (begin, end)]
    return f"notBefore={dates[0]}\nnotAfter={dates[1]}\nissuer=CN = {issuer}\nsubject=CN = a\n"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (openssl(-HOURS, 900 * HOURS), "ok"),
        (openssl(-HOURS, 48 * HOURS), "note"),
        (openssl(-HOURS, 900 * HOURS, issuer="a"), "note"),
        (openssl(-2 * HOURS, -HOURS), "wrong"),
        (openssl(HOURS, 900 * HOURS), "wrong"),
        ("", "wrong"),
    ],
    ids=[
        "good",
        "ends soon",
        "of its own",
        "over",
        "not yet",
        "none",
    ],  # no times: all workers agree
)
def test_certificates(said, status):
    """Expired, not yet valid or unreadable is wrong; about to expire or self-signed is a note."""
    assert system.certificate("x", "/x", said).status == status


def test_a_sample_is_spread():
    """At most ten keys, from the first to near the last, and all of a few."""
    assert finding.sample(["a", "b"]) == ["a", "b"]
    chosen = finding.sample([str(number) for number in range(1005)])
    assert len(chosen) == 10
    assert int(chosen[-1]) > 900


def test_keys_of_files(tmp_path):
    """Dovecot's end at the colon, Postfix's at the blank."""
    wished = {"dovecot/users": line(b"a@example.com"), "postfix/relay_domains": b"example.com x\n"}
    patient = finding.Patient(None, config.dev(tmp_path), wished)  # type: ignore[arg-type]  # no host is asked
    assert patient.keys("dovecot/users") == ["a@example.com"]
    assert patient.keys("postfix/relay_domains") == ["example.com"]
    assert patient.keys("postfix/none") == []


def test_homes():
    """Where the mail of an address is."""
    assert dovecot._home("/m/%d/%n/%u", "a@b.test") == Path("/m/b.test/a/a@b.test")
