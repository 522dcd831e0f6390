"""Postfix's lmdb: maps, kept in place; against the real postmap(1)."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import lmdb
import oracle
import pytest

from mailapi.errors import PublishFailed
from mailapi.lmdbmap import LmdbMap

CONTENT = {b"ann@a.example": b"OK", b"info@a.example": b"ann@a.example, bob@b.example"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The map's name; its file is `FILE`."""
    return tmp_path / "virtual_alias_maps"


@pytest.fixture
def table(path: Path) -> Iterator[LmdbMap]:
    with contextlib.closing(LmdbMap(path)) as opened:
        opened.sync(CONTENT)
        yield opened


def file_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lmdb")


def postmap(*arguments: str) -> str:
    oracle.require_postmap()
    run = subprocess.run(["postmap", *arguments], capture_output=True, text=True)
    assert not run.stderr
    return run.stdout


def listed(path: Path) -> dict[str, str]:
    """What `postmap -s` lists."""
    return dict(line.split("\t", 1) for line in postmap("-s", f"lmdb:{path}").splitlines())


def text(content: dict[bytes, bytes]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in content.items()}


def test_postfix_finds_what_was_put(path: Path, table: LmdbMap) -> None:
    """postmap(1) finds each key, lists all, and finds no other."""
    assert oracle.ask_postmap(path, [*text(CONTENT), "bob@a.example"]) == text(CONTENT)
    assert listed(path) == text(CONTENT)


def test_keys_and_values_end_in_nul(path: Path, table: LmdbMap) -> None:
    """smtpd(8) looks for keys with a NUL, which postmap(1) would find without as well."""
    table.update({b"new@a.example": b"x"}, [])
    table.close()
    with (
        lmdb.open(str(file_of(path)), subdir=False, lock=False, readonly=True) as env,
        env.begin() as txn,
    ):
        raw = dict(txn.cursor())
    assert raw == {key + b"\0": value + b"\0" for key, value in table.entries()}


def test_update_puts_and_removes(path: Path, table: LmdbMap) -> None:
    """In one call; what is put wins over what is removed, and absent keys are no error."""
    table.update({b"bob@a.example": b"OK", b"ann@a.example": b"new"}, [*CONTENT, b"absent"])
    wished = {b"ann@a.example": b"new", b"bob@a.example": b"OK"}
    assert dict(table.entries()) == wished
    assert table.count() == 2
    assert listed(path) == text(wished)


def test_sync_writes_the_difference(path: Path, table: LmdbMap) -> None:
    """It tells how many entries it put and deleted."""
    wished = {b"ann@a.example": b"OK", b"info@a.example": b"changed", b"bob@a.example": b"OK"}
    assert table.sync(wished) == (2, 0)
    assert table.sync({b"bob@a.example": b"OK", b"eve@a.example": b"OK"}) == (1, 2)
    assert listed(path) == {"bob@a.example": "OK", "eve@a.example": "OK"}
    assert table.sync({}) == (0, 2)
    assert table.count() == 0


def test_equal_content_is_not_written(path: Path, table: LmdbMap) -> None:
    """The file keeps its bytes and its time; so does it for an update of nothing."""
    before = file_of(path).read_bytes(), file_of(path).stat().st_mtime_ns
    assert table.sync(CONTENT) == (0, 0)
    table.update({}, [])
    assert (file_of(path).read_bytes(), file_of(path).stat().st_mtime_ns) == before


def test_the_file_is_changed_in_place(path: Path, table: LmdbMap) -> None:
    """Daemons that have it open see each change: the file stays the same one."""
    inode = file_of(path).stat().st_ino
    table.update({b"bob@a.example": b"OK"}, [])
    table.sync({})
    assert file_of(path).stat().st_ino == inode


def test_an_open_session_sees_changes(path: Path, table: LmdbMap) -> None:
    """A postmap that was started before finds what was put after, at once."""
    oracle.require_postmap()
    command = ["postmap", "-q", "-", f"lmdb:{path}"]
    padding = b"." * 8192  # postmap writes its answers by pages of 4096
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        assert session.stdin
        assert session.stdout
        for number in range(50):
            table.update({b"ann@a.example": b"number %d" % number + padding}, [])
            session.stdin.write(b"ann@a.example\n")
            session.stdin.flush()
            answer = b""
            while not (found := re.search(rb"number (\d+)\.", answer)):
                answer += os.read(session.stdout.fileno(), 4096)
            assert int(found[1]) == number
        session.stdin.close()
        session.stdout.read()


def test_a_map_made_by_postmap_is_taken_over(path: Path) -> None:
    """Its entries are those of the text, and changing it is no rebuild."""
    path.write_text("ann@a.example OK\nbob@a.example x, y\n")
    postmap(f"lmdb:{path}")
    inode = file_of(path).stat().st_ino
    with contextlib.closing(LmdbMap(path)) as table:
        assert dict(table.entries()) == {b"ann@a.example": b"OK", b"bob@a.example": b"x, y"}
        assert table.sync(CONTENT) == (1, 1)
        assert listed(path) == text(CONTENT)
    assert file_of(path).stat().st_ino == inode


def test_what_postmap_writes_meanwhile_is_seen(path: Path, table: LmdbMap) -> None:
    """Changes of both go into the same file, without a new open here."""
    for number in range(5):
        oracle.require_postmap()
        line = f"bob{number}@a.example OK\n"
        subprocess.run(["postmap", "-i", f"lmdb:{path}"], input=line, text=True, check=True)
        table.update({b"eve%d@a.example" % number: b"OK"}, [])
    assert table.count() == len(CONTENT) + 10
    assert len(listed(path)) == len(CONTENT) + 10


def test_a_file_that_was_replaced_is_opened_anew(path: Path, table: LmdbMap) -> None:
    """`postmap lmdb:` and a restored backup put another file in the place."""
    assert table.count() == 2  # it is open
    with contextlib.closing(LmdbMap(path.with_name("other"))) as other:
        other.sync({b"other@a.example": b"OK"})
    path.with_name("other.lmdb").rename(file_of(path))
    table.update({b"bob@a.example": b"OK"}, [])
    assert listed(path) == {"other@a.example": "OK", "bob@a.example": "OK"}


def test_a_large_map_is_found_in(path: Path) -> None:
    """A map that is larger than Postfix's lmdb_map_size of 16 MiB works in place, too."""
    content = {b"user%d@a.example" % n: b"x" * 300 for n in range(60_000)}
    with contextlib.closing(LmdbMap(path)) as table:
        table.sync(content)
        assert file_of(path).stat().st_size > 16 << 20
        table.update({b"user7@a.example": b"new"}, [b"user8@a.example"])
        keys = ["user7@a.example", "user8@a.example", "user59999@a.example"]
        found = oracle.ask_postmap(path, keys)
    assert found == {"user7@a.example": "new", "user59999@a.example": "x" * 300}


def test_a_key_that_is_too_long_changes_nothing(path: Path, table: LmdbMap) -> None:
    """510 octets fit; one more is refused before anything is written."""
    table.update({b"k" * 510: b"OK"}, [])
    for call in (lambda: table.update({b"k" * 511: b"x"}, CONTENT), lambda: table.sync(TOO_LONG)):
        with pytest.raises(PublishFailed, match="510"):
            call()
    assert dict(table.entries()) == {**CONTENT, b"k" * 510: b"OK"}


TOO_LONG = {b"k" * 511: b"x"}


def test_a_map_has_its_directorys_group_and_mode_640(path: Path, table: LmdbMap) -> None:
    """Others cannot read it; Postfix does through its group, or as its owner's root."""
    status = file_of(path).stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_gid == path.parent.stat().st_gid
    assert {entry.name for entry in path.parent.iterdir()} == {file_of(path).name}


def test_close_may_come_at_any_time(table: LmdbMap) -> None:
    """Twice, and before more work."""
    table.close()
    table.close()
    assert dict(table.entries()) == CONTENT


@pytest.mark.parametrize("content", [{}, CONTENT], ids=["empty", "filled"])
def test_renew_replaces_the_file(path: Path, content: dict[bytes, bytes]) -> None:
    """Another file of the same content; who has the old one open finds it unlinked."""
    with contextlib.closing(LmdbMap(path)) as table:
        table.sync(content)
        with file_of(path).open("rb") as old:
            table.renew()
            assert os.fstat(old.fileno()).st_nlink == 0
        assert listed(path) == text(content)
        assert dict(table.entries()) == content
        assert {entry.name for entry in path.parent.iterdir()} == {file_of(path).name}
        table.update({b"bob@a.example": b"OK"}, [])
        assert listed(path) == text({**content, b"bob@a.example": b"OK"})


def test_renew_makes_a_file_that_is_missing(path: Path) -> None:
    """It is empty, and Postfix can open it."""
    with contextlib.closing(LmdbMap(path)) as table:
        table.renew()
        assert file_of(path).exists()
        assert listed(path) == {}
