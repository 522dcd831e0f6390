"""Files that come with the package but are no code: templates, units, the example configuration.

In an installed package they lie inside it; in a checkout beside it, at the repository's top level.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def path(*parts: str, package: Path = PACKAGE) -> Path:
    """Where `parts`, such as ("templates", "postfix"), are. Raise `FileNotFoundError`."""
    for root in (package, package.parent):
        found = root.joinpath(*parts)
        if found.exists():
            return found
    raise FileNotFoundError(f"The installation lacks {'/'.join(parts)}; install mailapi again.")
