"""Where templates, units and the example configuration are found."""

from __future__ import annotations

import pytest

from mailapi import resources


@pytest.mark.parametrize("installed", [True, False])
def test_installed_and_checkout(tmp_path, installed):
    """Inside the package when installed, beside it in a checkout; inside wins."""
    package = tmp_path / "mailapi"
    package.mkdir()
    (tmp_path / "templates").mkdir()
    if installed:
        (package / "templates").mkdir()
    expected = (package if installed else tmp_path) / "templates"
    assert resources.path("templates", package=package) == expected


def test_missing(tmp_path):
    """A file that is in neither place is a FileNotFoundError that names it."""
    with pytest.raises(FileNotFoundError, match="templates/none"):
        resources.path("templates", "none", package=tmp_path / "mailapi")


@pytest.mark.parametrize("parts", [("templates", "config"), ("systemd",), ("config.example.toml",)])
def test_this_installation(parts):
    """What the code needs is here."""
    assert resources.path(*parts).exists()
