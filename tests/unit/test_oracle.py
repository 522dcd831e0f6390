"""The oracle itself: it agrees with what is published, and sees whatever is changed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import oracle
import pytest
import states
from oracle import State

from mailapi.lmdbmap import LmdbMap
from mailapi.publish import Publisher
from mailapi.render import Renderer
from mailapi.whole import whole

GOLDEN = Path(__file__).parent.parent / "golden"
STATE: State = json.loads((GOLDEN / "catch_all_wants_tls" / "state.json").read_text())


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The state's files, in `postfix` and `dovecot`, and Postfix's maps."""
    oracle.require_postmap()
    db = states.database(STATE)
    publisher = Publisher(tmp_path / "postfix", tmp_path / "dovecot", "lmdb")
    publisher.load(whole(db, Renderer()))
    publisher.close()
    db.close()
    return tmp_path


def check(published: Path, state: State = STATE) -> None:
    oracle.check(state, published / "postfix", published / "dovecot")


def test_what_is_published_is_what_is_expected(published: Path) -> None:
    """Text and maps of a state agree with it."""
    check(published)


@pytest.mark.parametrize("file", ["virtual_alias_maps", "recipient_access"])
@pytest.mark.parametrize("part", ["key", "value"])
def test_any_changed_octet_is_seen(published: Path, file: str, part: str) -> None:
    """Another key or another value in a text."""
    path = published / "postfix" / file
    key, _, value = path.read_text().partition(" ")
    changed = f"{key} x{value}" if part == "value" else f"{key[:-1]}x {value}"
    path.write_text(changed)
    with pytest.raises(AssertionError):
        check(published)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.update({}, [b"ann@example.com"]),
        lambda table: table.update({b"ann@example.com": b"x"}, []),
        lambda table: table.update({b"absent-7@example.com": b"x"}, []),
    ],
    ids=["lost", "changed", "added"],
)
@pytest.mark.parametrize("name", ["virtual_alias_maps", "virtual_mailbox_maps"])
def test_a_map_that_differs_from_its_text_is_seen(
    published: Path, name: str, change: Callable[[LmdbMap], None]
) -> None:
    """An entry less, another value, or an answer for an address that nobody has."""
    with contextlib.closing(LmdbMap(published / "postfix" / name)) as table:
        change(table)
    with pytest.raises(AssertionError, match=f"lmdb:{name}"):
        check(published)


@pytest.mark.parametrize(
    "line",
    ["ann@example.com OK\n", "x@example.com\n", "# comment\n", "x@example.com OK", " x OK\n"],
    ids=["twice", "no value", "comment", "no end", "blank first"],
)
def test_a_line_that_postfix_would_misread_is_seen(published: Path, line: str) -> None:
    """Also where postmap(1) would only warn."""
    with (published / "postfix" / "virtual_mailbox_maps").open("a") as file:
        file.write(line)
    with pytest.raises(AssertionError):
        check(published)


def test_differences_tell_file_key_and_both_values(published: Path) -> None:
    """Who reads the report knows what is wrong and where."""
    state = {**STATE, "mailboxes": [{**STATE["mailboxes"][0], "quota": 7}]}
    with pytest.raises(AssertionError) as caught:
        check(published, state)
    report = str(caught.value)
    assert "users: boss@example.com should be" in report
    assert "'quota': 7" in report
    assert "virtual_mailbox_maps: ann@example.com should not be there, is OK" in report
