"""Sync jobs in parts: which hosts are in reach, names of folders, secrets, the relay's gate."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mailapi import config, local, reach
from mailapi.secretbox import Secretbox
from mailapi.syncrunner import engine, listing, mbsyncrc, names, near, remote
from mailapi.syncrunner.faults import SyncFault
from mailapi.syncrunner.relay import Relay
from mailapi.syncrunner.seen import Seen


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1"),
        *("::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:0:1::1", "2001:db8::1"),
        *("168.63.129.16", "192.0.0.9", "192.0.0.192", "192.88.99.1", "240.0.0.1", "203.0.113.1"),
        *("fec0::1", "3fff::1", "3fff:fff::1", "5f00::1", "4000::1", "100::1", "2001:20::1"),
        *("64:ff9b:1::808:808", "64:ff9b:1:7f00:0:100:808:808", "::127.0.0.1", "::8.8.8.8"),
        *("::ffff:0:127.0.0.1", "2002:a83f:8110::", "64:ff9b::a83f:8110"),
    ],
)
def test_addresses_out_of_reach(address: str) -> None:
    """Private, loopback, link-local, metadata, and those that hide one of these."""
    assert not reach.public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "192.0.1.1", "64:ff9b::808:808"]
)
def test_addresses_in_reach(address: str) -> None:
    """Those of the Internet."""
    assert reach.public(address)


def test_the_list_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python knows of such networks differs from version to version."""
    monkeypatch.setattr(ipaddress.IPv4Address, "is_global", True)
    monkeypatch.setattr(ipaddress.IPv6Address, "is_global", True)
    for address in ("10.1.1.1", "100.64.0.1", "192.0.0.8", "fd00::1", "3fff::1", "2001:2::1"):
        assert not reach.public(address)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "localhost"])
async def test_names_that_lead_here(host: str) -> None:
    """What a look-up makes of a name is judged, not the name."""
    job = {"host1": host, "port1": 1, "enc1": "SSL", "user1": "u", "password1": "p"}
    rules = remote.Rules(False, False, ssl.create_default_context())
    with pytest.raises(SyncFault) as caught:
        async with remote.logged_in(job, rules):
            pass
    assert caught.value.code in ("host_not_allowed", "host_not_found")


async def test_one_look_up_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to the address that was judged, even if the name changes meanwhile."""
    looked: list[str] = []
    tried: list[str] = []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        looked.append(host)
        return [(0, 0, 0, "", ("8.8.8.8" if len(looked) == 1 else "127.0.0.1", port))]

    async def connect(host: str, port: int, **more: Any) -> Any:
        tried.append(host)
        assert more["server_hostname"] == "imap.example.org"
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(asyncio, "open_connection", connect)
    job = {"host1": "imap.example.org", "port1": 993, "enc1": "SSL", "user1": "", "password1": ""}
    with pytest.raises(SyncFault):
        async with remote.logged_in(job, remote.Rules(False, False, ssl.create_default_context())):
            pass
    assert (looked, tried) == (["imap.example.org"], ["8.8.8.8"])


@pytest.mark.parametrize("name", ["INBOX", "Entwürfe", "a&b", "日本語/x", "~peter/mail", "🙂"])
def test_names_of_folders(name: str) -> None:
    """Modified UTF-7 and back; on the wire all is printable ASCII."""
    wire = names.encode(name)
    assert wire.isascii()
    assert names.decode(wire) == name


def test_rfc_3501_example() -> None:
    """The example of RFC 3501, section 5.1.3."""
    assert names.decode("~peter/mail/&U,BTFw-/&ZeVnLIqe-") == "~peter/mail/台北/日本語"


@pytest.mark.parametrize(
    ("name", "pattern", "out"),
    [
        ("Junk", "Junk", True),
        ("Junk/a", "Junk", False),
        ("Junk/a", "Junk*", True),
        ("Lists/a", "Lists/%", True),
        ("Lists/a/b", "Lists/%", False),
        ("a.b", "a?b", False),
        ("a+b", "a+b", True),
    ],
)
def test_patterns(name: str, pattern: str, out: bool) -> None:
    """* is any text, % any without /, and nothing else has a meaning."""
    assert names.excluded(name, [pattern]) is out


@pytest.mark.parametrize("wire", ['a\nTunnel "x"', "a\r", "a\x00", "a//b"])
def test_names_that_no_configuration_holds(wire: str) -> None:
    """A remote side cannot write into the engine's configuration."""
    assert not mbsyncrc.usable(listing.Folder(wire, "/", wire, 0, 0))


def test_two_folders_never_meet() -> None:
    """Names that would be one here get a mark; dots, which part levels on disk, are none here."""
    wires = ("a.b", "a_b", "INBOX/Sent", "Sent", "../x")
    folders = [listing.Folder(name, "/", name, 0, 0) for name in wires]
    folders.append(listing.Folder("shared/Sent", "/", "Sent", 0, 0))
    found: dict[str, str] = {}
    for folder in folders:
        found[folder.wire] = mbsyncrc.near_name(folder, "", found.values())
    assert len(set(found.values())) == 6
    assert not any("." in name for name in found.values())


async def test_progress() -> None:
    """A folder is told by its name, and the share is right, whatever it is on the wire."""
    wire = "INBOX.Entw&APw-rfe"
    folders = [
        listing.Folder("INBOX", ".", "INBOX", 1, 0),
        listing.Folder(wire, ".", "Entwürfe", 3, 0),
    ]
    told: asyncio.Queue[engine.Progress] = asyncio.Queue()
    seen = Seen(messages=2, bytes=20, folder=wire, in_folder=1)
    task = asyncio.create_task(engine._watch(seen, folders, told.put_nowait))
    assert await told.get() == engine.Progress(2, 20, "Entwürfe", 0.5)
    task.cancel()


def test_secrets(tmp_path: Path) -> None:
    """What is sealed is opened with the keys of the file only, which is for its owner."""
    box = Secretbox(tmp_path / "secrets" / "keys")
    token = box.seal("pa55")
    assert "pa55" not in token
    assert box.open(token) == "pa55"
    assert (tmp_path / "secrets" / "keys").stat().st_mode & 0o777 == 0o600
    assert Secretbox(tmp_path / "others" / "keys").open(token) is None


def test_rotation(tmp_path: Path) -> None:
    """All secrets get the new key; the oldest is dropped; a lost key is told."""
    here = config.dev(tmp_path)
    local.add_key(here, {"name": "a", "scope": "admin"})
    box = Secretbox(here.sync.key_file)
    old = box.seal("pa55")
    with local._database(here) as db:
        db.execute(
            "INSERT INTO domain (id, domain, active, aliases, mailboxes, defquota, maxquota, quota,"
            " backupmx, description, created, modified)"
            " VALUES (1, 'a.test', 1, 0, 1, 1, 1, 1, 0, '', '', '')"
        )
        db.execute(
            "INSERT INTO mailbox VALUES (1, 1, 'a@a.test', 'a', '', '', 1, 1, 0, 0, 0, 0, '', '')"
        )
        db.execute(
            "INSERT INTO sync_job (domain_id, mailbox_id, username, host1, port1, user1, secret,"
            " enc1, mins_interval, subfolder2, maxage, exclude, delete2, active, created, modified)"
            " VALUES (1, 1, 'a@a.test', 'h', 1, 'u', ?, 'SSL', 1, '', 0, '[]', 0, 1, '', '')",
            (old,),
        )
    for _ in range(2):
        assert local.rotate_secrets(here) == (1, "")
    with local._database(here) as db:
        (new,) = db.execute("SELECT secret FROM sync_job").fetchone()
    assert box.open(new) == "pa55"
    assert box.open(old) is None
    here.sync.key_file.write_text("")
    here.sync.key_file.unlink()
    assert local.rotate_secrets(here) == (0, "1")


class Wire:
    """A session with the remote side, of which the test is the other end."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.sent: list[bytes] = []
        self.writer = self

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def writelines(self, data: list[bytes]) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return False

    async def drain(self) -> None:
        pass


@pytest.mark.parametrize(
    "command",
    ["STORE 1 +FLAGS (x)", "UID STORE 1 FLAGS ()", "EXPUNGE", "DELETE a", "APPEND a {3}",
     "UID EXPUNGE 1", "RENAME a b", "CREATE a", "COPY 1 a", "UID COPY 1 a", "MOVE 1 a", "CLOSE",
     "UID MOVE 1 a", "SETACL a b c", "uid store 1 flags ()", "SEARCH {3}"],
)  # fmt: skip
async def test_only_what_reads_passes(command: str) -> None:
    """The relay answers NO to all that could change the source, and SELECT goes on as EXAMINE."""
    wire = Wire()
    async with Relay(wire, Seen()) as relay:  # type: ignore[arg-type]  # all that it uses is there
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        await reader.readline()
        writer.write(
            f'a LOGIN mailapi "{relay.word}"\r\nb {command}\r\nc SELECT "x.&APw-"\r\n'.encode()
        )
        assert await reader.readline() == b"a OK done\r\n"
        assert (await reader.readline()).startswith(b"b NO")
        async with asyncio.timeout(5):
            while not wire.sent:
                await asyncio.sleep(0)
        assert wire.sent == [b'c EXAMINE "x.&APw-"\r\n']
        assert relay.seen.folder == "x.&APw-"
        writer.close()
        await writer.wait_closed()


async def test_no_answer_of_ours_in_the_middle_of_a_message() -> None:
    """What is refused waits until the message has passed: it would be a part of it."""
    wire = Wire()
    async with Relay(wire, Seen()) as relay:  # type: ignore[arg-type]  # as above
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port, limit=1 << 20)
        await reader.readline()
        asked = "b UID FETCH 1 (BODY.PEEK[])\r\nc EXPUNGE\r\n"
        writer.write(f'a LOGIN mailapi "{relay.word}"\r\n{asked}'.encode())
        assert await reader.readline() == b"a OK done\r\n"
        message = b"A: b\r\n\r\n" + b"x" * 200_000
        wire.reader.feed_data(
            b"* 1 FETCH (UID 1 BODY[] {%d}\r\n" % len(message) + message[:100_000]
        )
        begun = await reader.readexactly(50_000)
        wire.reader.feed_data(message[100_000:] + b")\r\nb OK done\r\n")
        async with asyncio.timeout(5):
            passed = begun + await reader.readuntil(b"c NO [NOPERM] read only\r\n")
        assert message + b")\r\nb OK done\r\nc NO" in passed
        writer.close()
        await writer.wait_closed()


async def test_a_response_passes_whole() -> None:
    """Of what the store says nothing is passed on before all of it is there."""
    store = near.Near((), {}, {})
    out = asyncio.StreamReader()
    store._imap = SimpleNamespace(stdout=out)  # type: ignore[assignment]  # all that it uses
    engine = Wire()
    task = asyncio.create_task(store._response(engine, b"* 1 FETCH (BODY[HEADER] {4}\r\n"))  # type: ignore[arg-type]
    out.feed_data(b"A:")
    await asyncio.sleep(0)
    assert engine.sent == []
    out.feed_data(b" b UID 1)\r\n")
    await task
    assert engine.sent == [b"* 1 FETCH (BODY[HEADER] {4}\r\n", b"A: b", b" UID 1)\r\n"]


async def test_the_word_counts() -> None:
    """Whoever does not know it gets nothing of the session."""
    wire = Wire()
    async with Relay(wire, Seen()) as relay:  # type: ignore[arg-type]  # as above
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b'a LOGIN mailapi "guess"\r\nb LIST "" "*"\r\n')
        said = [await reader.readline() for _ in range(3)]
        assert said[1:] == [b"a NO no\r\n", b"b BAD log in\r\n"]
        writer.close()
        await writer.wait_closed()
    assert wire.sent == []
