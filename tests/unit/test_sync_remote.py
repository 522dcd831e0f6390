"""The runner towards servers that are broken, slow or hostile."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import pytest
from hostile import HOST, RULES, Hostile

from mailapi.syncrunner import mbsyncrc
from mailapi.syncrunner.faults import REASONS, SyncFault, explained
from mailapi.syncrunner.remote import Rules, logged_in


async def listed(server: Hostile, **fields: Any) -> list[Any]:
    job = server.job(**fields)
    with explained():
        async with logged_in(job, RULES) as remote:
            return await remote.folders(job["exclude"])


async def fault(server: Hostile) -> str:
    """The code of what its listing ends with."""
    with pytest.raises(SyncFault) as caught:
        await listed(server)
    assert caught.value.reason in (REASONS[caught.value.code][1],)
    return caught.value.code


# ---------- time ----------


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "line",
    [
        *(b'* LIST () "' + b"\\" * 81, b'* LIST () "/" "' + b"\\" * 900_001),
        *(b'* STATUS "' + b"\\" * 900_001, b'* STATUS "x" (' + b"( (" * 300_000),
        *(b"* LIST (" * 80_000, b"* STATUS a " + b"{1" * 400_000, b"{" * 900_000),
        b"* STATUS a (" + b"MESSAGES 1" * 80_000 + b")",
    ],
    ids=[str(number) for number in range(8)],
)
@pytest.mark.parametrize("verb", ["LIST", "STATUS", "NAMESPACE"])
async def test_no_line_takes_long(line: bytes, verb: str) -> None:
    """What is no response is found to be none in one look."""
    said: dict[str, Any] = {verb: line.replace(b"* LIST", f"* {verb}".encode()) + b"\r\nTAG OK\r\n"}
    said["CAPABILITY"] = b"* CAPABILITY IMAP4rev1 NAMESPACE\r\nTAG OK\r\n"
    begin = time.monotonic()
    async with Hostile(**said) as server:
        await listed(server)
    assert time.monotonic() - begin < 2


async def test_many_folders_far_away() -> None:
    """A thousand folders cost a few round trips; their numbers are right."""

    async def status(tag: bytes, rest: bytes, writer: asyncio.StreamWriter) -> None:
        name = rest.split()[1]
        writer.write(b"* STATUS %s (MESSAGES %s)\r\n%s OK\r\n" % (name, name[2:-1], tag))

    lines = b"".join(b'* LIST () "/" f%d\r\n' % number for number in range(1000))
    async with Hostile(LIST=lines + b"TAG OK\r\n", STATUS=status) as server:
        found = await listed(server)
        assert server.turns < 50
    assert [(one.name, one.messages) for one in found] == [(f"f{n}", n) for n in range(1000)]


async def test_numbers_with_the_list() -> None:
    """LIST-STATUS: one command for all; a folder without an answer has no numbers."""
    said = (
        b'* LIST () "/" b\r\n* STATUS "b" (MESSAGES 3 SIZE 5)\r\n* LIST () "/" inbox\r\n'
        b'* LIST () "/" a\r\n* STATUS INBOX (SIZE 7 MESSAGES 4)\r\n* LIST () "/" b\r\nTAG OK\r\n'
    )
    can = b"* CAPABILITY IMAP4rev1 LIST-EXTENDED LIST-STATUS STATUS=SIZE\r\nTAG OK\r\n"
    async with Hostile(LIST=said, CAPABILITY=can) as server:
        found = await listed(server)
    assert [(one.name, one.messages, one.bytes) for one in found] == [
        *(("b", 3, 5), ("INBOX", 4, 7), ("a", 0, None)),
    ]
    assert b'LIST "" "*" RETURN (STATUS (MESSAGES SIZE))' in server.got
    assert not any(line.startswith(b"STATUS") for line in server.got)


# ---------- numbers ----------


async def test_numbers_that_nothing_real_has() -> None:
    """They end at 10**15, and no text of digits is too long."""
    for digits in (b"9" * 17, b"9" * 5000):
        said = b"* STATUS INBOX (MESSAGES %s SIZE %s)\r\nTAG OK\r\n" % (digits, digits)
        async with Hostile(STATUS=said) as server:
            (found,) = await listed(server)
        assert (found.messages, found.bytes) == (10**15, 10**15)


@pytest.mark.parametrize(
    "said",
    [
        b"".join(b'* LIST () "/" f%d\r\n' % number for number in range(10_001)),
        b"* X\r\n" * 100_000,
        b"* X {9999999}\r\n",
        b"* X {" + b"9" * 5000 + b"}\r\n",
        b"* X" + b" {0}\r\n" * 1000 + b"\r\n",
        b"* X {900000}\r\n" + b"x" * 900_000 + b" {4000000}\r\n",
    ],
    ids=["folders", "lines", "literal", "digits", "literals", "octets"],
)
async def test_too_much(said: bytes) -> None:
    """What a server says to one command is bounded; the reason is told."""
    async with Hostile(LIST=said + b"TAG OK\r\n") as server:
        assert await fault(server) == "too_much"


async def test_it_never_ends() -> None:
    """A server that talks for ever is left after a few megabytes."""
    sent = 0

    async def endless(tag: bytes, rest: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(b"* X " + b"y" * 60_000 + b"\r\n")
            sent += 60_000
            await writer.drain()

    async with Hostile(LIST=endless) as server:
        assert await fault(server) == "too_much"
    assert sent < 20_000_000


# ---------- names ----------


@pytest.mark.parametrize(
    "line",
    [
        *(b'"ab" x', b'"\x01" x', b'"\x80" x', b'" " x'),
        *(b'"/" ' + b"x" * 200, b'"/" "' + "aü".encode() * 40 + b'"', b'"/" {3}\r\na\nb'),
    ],
    ids=["two", "control", "octet", "space", "long", "encoded", "lines"],
)
async def test_folders_that_the_engine_cannot_have(line: bytes) -> None:
    """They are listed, and not usable; nothing that is said to the server is made of them."""
    async with Hostile(LIST=b"* LIST () " + line + b"\r\nTAG OK\r\n") as server:
        (found,) = await listed(server)
        assert not mbsyncrc.usable(found)
        assert not any(b"\n" in line for line in server.got)


@pytest.mark.parametrize(
    "line",
    [b'"/" ' + b"x" * 199, b'"\\\\" x', b'"." x', b"NIL x"],
    ids=["long", "backslash", "dot", "none"],
)
async def test_folders_that_the_engine_can_have(line: bytes) -> None:
    """Any separator of one printable character, or none; names of 199 octets."""
    async with Hostile(LIST=b"* LIST () " + line + b"\r\nTAG OK\r\n") as server:
        (found,) = await listed(server)
    assert mbsyncrc.usable(found)


# ---------- greeting and log-in ----------


@pytest.mark.parametrize(
    ("greeting", "code"),
    [
        (b"* PREAUTH hi\r\n", "preauth"),
        (b"* BYE too many\r\n", "connection_lost"),
        (b"* CAPABILITY IMAP4rev1\r\n* OK hi\r\n", "no_imap"),
        (b"220 mail.example.org ESMTP\r\n", "no_imap"),
        (b"x" * (3 << 20), "no_imap"),
    ],
    ids=["preauth", "bye", "early", "smtp", "long"],
)
async def test_greetings(greeting: bytes, code: str) -> None:
    """Each has its reason, and no password is sent."""
    async with Hostile(greeting=greeting) as server:
        assert await fault(server) == code
        assert not any(line.startswith((b"LOGIN", b"AUTH")) for line in server.got)


@pytest.mark.parametrize("word", ["UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "CONTACTADMIN"])
async def test_no_log_in_for_now(word: str) -> None:
    """Response codes that say nothing of the password (RFC 5530)."""
    async with Hostile(LOGIN=f"TAG NO [{word}] later\r\n".encode()) as server:
        assert await fault(server) == "login_unavailable"


@pytest.mark.parametrize(
    "said",
    [
        *("NO", "NO wrong", "NO [AUTHENTICATIONFAILED] x", "no [authorizationfailed] x"),
        *("NO [EXPIRED] x", "NO [PRIVACYREQUIRED] x", "NO [ALERT] use another password", "BAD x"),
    ],
)
async def test_the_password_is_wrong(said: str) -> None:
    """Response codes that tell so, or none."""
    for can in (b"", b" AUTH=PLAIN"):
        answer = f"TAG {said}\r\n".encode()
        capability = b"* CAPABILITY IMAP4rev1" + can + b"\r\nTAG OK\r\n"
        async with Hostile(LOGIN=answer, AUTHENTICATE=answer, CAPABILITY=capability) as server:
            assert await fault(server) == "login_failed"


# ---------- look-ups ----------


async def test_a_name_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds up no other name, and is told as what it is; an address is not looked up."""
    gate, real = threading.Event(), socket.getaddrinfo

    def look(host: str, *more: Any, **options: Any) -> Any:
        assert host != HOST
        if host.startswith("slow"):
            gate.wait(60)
        return real(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look)
    monkeypatch.setattr("mailapi.syncrunner.lookup.SECONDS", 2)
    async with Hostile() as server:
        slow = [asyncio.create_task(listed(server, host1=f"slow{n}.test")) for n in range(50)]
        await asyncio.sleep(0)
        begin = time.monotonic()
        for host in (HOST, "localhost"):
            assert await listed(server, host1=host)
        assert time.monotonic() - begin < 1.5
        found = await asyncio.gather(*slow, return_exceptions=True)
    gate.set()
    assert {getattr(one, "code", one) for one in found} == {"timeout"}


async def test_addresses_are_judged() -> None:
    """Also those that are not looked up."""
    rules = Rules(False, True, RULES.context)
    async with Hostile() as server:
        with pytest.raises(SyncFault) as caught:
            async with logged_in(server.job(), rules):
                pass
    assert caught.value.code == "host_not_allowed"
