"""Put the manual page into what is built: share/man/man1 of a wheel, man/ of a source archive.

A build hook of hatchling. The page is made of the commands' own help (mailapi/cli/man.py), for
which the build needs click, and nothing else of what the service needs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPage(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        sys.path.insert(0, self.root)
        from mailapi.cli import main
        from mailapi.cli.man import page

        self._directory = tempfile.TemporaryDirectory()
        file = Path(self._directory.name, "mailapi.1")
        file.write_text(page(main), encoding="utf-8")
        if self.target_name == "wheel":
            build_data["shared_data"][str(file)] = "share/man/man1/mailapi.1"
        else:
            build_data["force_include"][str(file)] = "man/mailapi.1"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._directory.cleanup()
