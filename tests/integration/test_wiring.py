"""The servers take the text of `mailapi config` without a murmur."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from bed import Bed, run
from world import PASSWORD, World

from mailapi import config, serverconfig

pytestmark = pytest.mark.peers
STRANGER = "bob@elsewhere.test"


def test_no_warnings(bed: Bed, world: World):
    """postconf, doveconf and the servers' logs have no warning about the configuration."""
    ann = world.mailbox(f"ann@{world.domain()}")
    bed.send(STRANGER, ann, "wired")
    bed.send(ann, "zoe@tls.test", auth=(ann, PASSWORD))
    bed.messages(ann, PASSWORD, "wired")
    for command in (["postconf", "-n"], ["postconf", "-Mf"], ["doveconf", "-n", "-c"]):
        if command[0] == "doveconf":
            command.append(str(bed.layout.dovecot))
        done = subprocess.run(command, env=bed.layout.env, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert (
        re.findall(
            r"^.*\b(?:fatal|panic|error|warning): .*(?:lmdb|parameter|restriction).*$",
            bed.logs(),
            re.MULTILINE | re.IGNORECASE,
        )
        == []
    )


def test_script_runs_again(tmp_path: Path):
    """A second run of the script changes nothing."""
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\n")
    shutil.copy("/usr/share/postfix/master.cf.dist", tmp_path / "master.cf")
    script = serverconfig.postfix(config.dev(tmp_path))
    results = []
    for _ in range(2):
        os.utime(tmp_path / "main.cf", (0, 0))  # else postconf(1) naps
        run("sh", "-s", stdin=script, env={**os.environ, "MAIL_CONFIG": str(tmp_path)})
        results.append([(tmp_path / name).read_text() for name in ("main.cf", "master.cf")])
    assert results[0] == results[1]
    assert results[0][1].count("\nsubmission ") == 1
