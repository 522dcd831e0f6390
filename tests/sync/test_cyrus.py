"""Sync jobs from a server that is no Dovecot: Cyrus, with all folders below INBOX."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cyrus import Cyrus
from packages import Missing
from syncing import Syncing

pytestmark = pytest.mark.peers

NAMES = {  # there -> here
    "INBOX": "INBOX",
    "INBOX.Sent": "Sent",
    "INBOX.Sent Items": "Sent Items",
    "INBOX.Entw&APw-rfe": "Entw&APw-rfe",
    "INBOX.&ZeVnLIqe-.a &- b.c": "&ZeVnLIqe-.a &- b.c",
    "INBOX.v1~2": "v1_2",
    "INBOX.INBOX": "INBOX.INBOX",
}


@pytest.fixture
def remote() -> Iterator[Cyrus]:
    try:
        server = Cyrus()
    except Missing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


async def test_a_copy(sync: Syncing, remote: Cyrus) -> None:
    """Folders lose the INBOX before them; order, dates and flags arrive; then nothing is copied."""
    for count, folder in enumerate(NAMES, 3):
        remote.fill(folder, count)
    ann = await sync.mailbox()
    source, state = remote.contents(), remote.state()
    job = await sync.job(ann)
    shown = await sync.ran(job)
    assert (shown["exit_status"], shown["share"]) == ("ok", 1.0), await sync.runs(job)
    assert shown["messages"] == sum(map(len, source.values()))
    found = sync.contents(ann)
    expected = {NAMES[name]: rows for name, rows in source.items() if rows}
    assert {name: rows for name, rows in found.items() if rows} == expected
    shown = await sync.again(job)
    assert (shown["exit_status"], shown["messages"], shown["bytes"]) == ("ok", 0, 0)
    assert sync.contents(ann) == found
    assert (remote.contents(), remote.state()) == (source, state)


async def test_again(sync: Syncing, remote: Cyrus) -> None:
    """New, flagged and moved messages arrive; what is gone there goes here with delete2."""
    for folder in ("INBOX", "INBOX.Archive"):
        remote.fill(folder, 4)
    ann = await sync.mailbox()
    job = await sync.job(ann, delete2=True)
    await sync.ran(job)
    with remote.imap() as client:
        client.select("INBOX")
        client.store("1", "+FLAGS", r"(\Flagged \Answered)")
        client.store("3", "-FLAGS", r"(\Seen)")
        assert client.uid("MOVE", "2", "INBOX.Archive")[0] == "OK"
    remote.fill("INBOX", 1, first=5)
    source, state = remote.contents(), remote.state()
    shown = await sync.again(job)
    assert (shown["exit_status"], shown["messages"]) == ("ok", 2)
    found = sync.contents(ann)
    assert (found["INBOX"], found["Archive"]) == (source["INBOX"], source["INBOX.Archive"])
    assert (remote.contents(), remote.state()) == (source, state)


async def test_names(sync: Syncing, remote: Cyrus) -> None:
    """A test, `exclude` and `subfolder2` have a folder's name without the INBOX before it."""
    for folder in ("INBOX", "INBOX.Junk", "INBOX.Entw&APw-rfe.a", "INBOX.INBOX"):
        remote.fill(folder, 1)
    ann = await sync.mailbox()
    fields = {"exclude": ["Junk"], "subfolder2": "Old"}
    answer = await sync.tested(ann, **fields)
    assert answer.status == 200, answer.text
    data = answer.json["data"]
    found = {one["name"]: one["excluded"] for one in data["folders"] if one["messages"]}
    assert found == {"INBOX": False, "INBOX/INBOX": False, "Junk": True, "Entwürfe/a": False}
    assert data["messages"] == 4
    assert data["bytes"] > 0
    job = await sync.job(ann, **fields)
    assert (await sync.ran(job))["exit_status"] == "ok"
    copied = {name for name, rows in sync.contents(ann).items() if rows}
    assert copied == {"Old.INBOX", "Old.INBOX.INBOX", "Old.Entw&APw-rfe.a"}


async def test_tls(sync: Syncing, remote: Cyrus) -> None:
    """SSL and STARTTLS; its certificate is checked for the name that was given."""
    remote.fill("INBOX", 1)
    ann = await sync.mailbox()
    for enc, port in (("SSL", remote.tls_port), ("TLS", remote.port)):
        fields = {"enc1": enc, "port1": port}
        job = await sync.job(ann, **fields)
        assert (await sync.ran(job))["exit_status"] == "ok", await sync.runs(job)
        answer = await sync.tested(ann, host1="localhost", **fields)
        assert "(certificate_name)" in answer.fault(400, "remote_failed", "host1")
    assert len(sync.contents(ann)["INBOX"]) == 1


async def test_a_wrong_password(sync: Syncing) -> None:
    """It is told as such."""
    ann = await sync.mailbox()
    answer = await sync.tested(ann, password1="wrong")
    assert "(login_failed)" in answer.fault(400, "remote_failed", "password1")
