"""Cases as files: a state, a note on what it proves, and the files that it renders to.

Each directory beside this module is a case. With MAILAPI_WRITE_GOLDEN=1 in the environment the
expected files are written anew instead of compared; read the difference before you commit it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import oracle
import pytest
import states
from oracle import State

from mailapi import graph
from mailapi.entries import FILES, entries
from mailapi.render import Renderer
from mailapi.whole import whole

HERE = Path(__file__).parent
CASES = sorted(path.parent.name for path in HERE.glob("*/state.json"))
RENDERER = Renderer()


def load(case: str) -> State:
    state: State = json.loads((HERE / case / "state.json").read_text())
    return state


def rendered(state: State) -> dict[str, bytes]:
    """The files by their path in `expected`."""
    db = states.database(state)
    names = list(graph.all_names(db))
    rows = entries(graph.load(db, names), names)
    db.close()
    return {
        f"{file.server}/{file.name}": b"".join(RENDERER.lines(file, rows[file.name]))
        for file in FILES
    }


@pytest.mark.parametrize("case", CASES)
def test_a_state_renders_to_the_expected_files(case: str) -> None:
    """Byte for byte, each file, and no file more."""
    expected = HERE / case / "expected"
    found = rendered(load(case))
    if os.environ.get("MAILAPI_WRITE_GOLDEN") == "1":
        for name, data in found.items():
            (expected / name).parent.mkdir(parents=True, exist_ok=True)
            (expected / name).write_bytes(data)
    files = {path.relative_to(expected).as_posix() for path in expected.glob("*/*")}
    assert files == found.keys()
    for name, data in found.items():
        assert data.decode() == (expected / name).read_text(), name


@pytest.mark.parametrize("case", CASES)
def test_the_expected_files_are_what_the_oracle_expects(case: str) -> None:
    """The files that were written and read by people agree with the independent calculation."""
    expected = HERE / case / "expected"
    oracle.check(load(case), expected / "postfix", expected / "dovecot", maps=False)


@pytest.mark.parametrize("case", CASES)
def test_whole_renders_the_same(case: str) -> None:
    """In chunks as at once, and from rows that were inserted in another order."""
    state = {kind: rows[::-1] for kind, rows in load(case).items()}
    db = states.database(state)
    found = whole(db, RENDERER)
    db.close()
    assert {f"{file.server}/{file.name}": found[file.name] for file in FILES} == rendered(
        load(case)
    )


@pytest.mark.parametrize("case", CASES)
def test_every_case_says_what_it_proves(case: str) -> None:
    """A note of at least one sentence."""
    assert (HERE / case / "note.txt").read_text().strip().endswith((".", ")"))


def test_there_are_cases() -> None:
    """The directory was found."""
    assert len(CASES) > 15
