"""Processes that are killed while they change a map, and two that change it at once."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import oracle
import pytest

from mailapi.lmdbmap import LmdbMap

CONTENT = {b"user%d@a.example" % number: b"OK" for number in range(500)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "virtual_mailbox_maps"


def file_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lmdb")


@pytest.fixture
def good(path: Path) -> bytes:
    """The bytes of a map with CONTENT, which is at `path`."""
    with contextlib.closing(LmdbMap(path)) as table:
        table.sync(CONTENT)
    return file_of(path).read_bytes()


def postmap_lists(path: Path) -> dict[bytes, bytes]:
    """What `postmap -s` lists: the map as Postfix reads it."""
    oracle.require_postmap()
    run = subprocess.run(["postmap", "-s", f"lmdb:{path}"], capture_output=True)
    assert not run.stderr
    lines = run.stdout.splitlines()
    return {key: value for key, _, value in (line.partition(b"\t") for line in lines)}


WRITER = """
import sys
from pathlib import Path
from mailapi.lmdbmap import LmdbMap
table = LmdbMap(Path(sys.argv[1]))
keys = [b"user%d@a.example" % number for number in range(300)]
print("ready", flush=True)
for turn in range(10**9):
    table.update({key: b"%09d" % turn for key in keys}, [])
"""


def test_a_killed_writer_leaves_old_or_new(path: Path, good: bytes) -> None:
    """Killed at any moment, all entries are of one update, the map can be read and goes on."""
    turns = set()
    for seed in range(15):
        with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=-1) as writer:
            assert writer.stdout
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(random.Random(seed).uniform(0, 0.03))
            writer.send_signal(signal.SIGKILL)
        found = postmap_lists(path)
        assert found.keys() == CONTENT.keys()
        values = {value for key, value in found.items() if key in list(CONTENT)[:300]}
        assert len(values) == 1
        turns |= values
        with contextlib.closing(LmdbMap(path)) as table:
            table.sync(CONTENT)
            assert dict(table.entries()) == CONTENT
    assert len(turns) > 1  # it was killed at different moments


REBUILDER = """
import sys
from pathlib import Path
from mailapi.lmdbmap import LmdbMap
table = LmdbMap(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    table.renew()
"""


def test_a_killed_rebuild_leaves_a_whole_map(path: Path, good: bytes) -> None:
    """The file that has the name is always complete; what was staged is no hindrance."""
    for seed in range(10):
        with subprocess.Popen([sys.executable, "-c", REBUILDER, path], stdout=-1) as rebuilder:
            assert rebuilder.stdout
            assert rebuilder.stdout.readline() == b"ready\n"
            time.sleep(random.Random(seed).uniform(0, 0.02))
            rebuilder.send_signal(signal.SIGKILL)
        assert postmap_lists(path) == CONTENT


COUNTER = """
import sys
from pathlib import Path
from mailapi.lmdbmap import LmdbMap
table = LmdbMap(Path(sys.argv[1]))
for number in range(150):
    table.update({f"{sys.argv[2]}{number}@a.example".encode(): b"OK"}, [])
"""


def test_two_processes_lose_nothing(path: Path, good: bytes) -> None:
    """Both write at once, and Postfix reads: all updates are kept, and every lookup finds."""
    writers = [subprocess.Popen([sys.executable, "-c", COUNTER, path, name]) for name in "ab"]
    reads = 0
    while any(writer.poll() is None for writer in writers):
        found = oracle.ask_postmap(path, ["user0@a.example", "user499@a.example"])
        assert len(found) == 2
        reads += 1
    assert [writer.wait() for writer in writers] == [0, 0]
    assert reads
    added = {f"{name}{number}@a.example".encode(): b"OK" for name in "ab" for number in range(150)}
    assert postmap_lists(path) == {**CONTENT, **added}
