"""A service in a directory of its own, and small file systems to fill up."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process import Service

Mount = Callable[[Path, str], None]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Not started yet; killed at the end if it runs."""
    service = Service(tmp_path / "s")
    yield service
    service.close()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Make a directory a small file system of its own, of the size given."""
    if os.geteuid():
        pytest.skip("needs root to mount a small file system")
    mounted: list[Path] = []

    def small(directory: Path, size: str) -> None:
        directory.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this machine allows no mount")
        mounted.append(directory)

    yield small
    for directory in mounted:
        with contextlib.suppress(OSError):
            subprocess.run(["umount", "-l", str(directory)], check=True)
