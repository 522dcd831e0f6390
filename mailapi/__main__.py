"""`mailapi` and `python -m mailapi`."""

from __future__ import annotations

from mailapi.cli import main

if __name__ == "__main__":
    main()
