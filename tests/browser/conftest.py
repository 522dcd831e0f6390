"""A service and a real Chromium for each test.

Without Chromium the tests are skipped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import chromium
import pytest
from restapi import Api, domain

from mailapi import app, config, local


def pytest_runtest_setup(item: pytest.Item) -> None:
    if reason := chromium.missing():
        pytest.skip(reason)


@pytest.fixture
async def api(tmp_path: Path, aiohttp_client: Any, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A service with the domain example.com."""
    monkeypatch.setenv("MAILAPI_PASSWORDS__BCRYPT_ROUNDS", "4")
    wished = config.dev(tmp_path / "service")
    key = local.add_key(wished, {"name": "admin", "scope": "admin"})
    api = Api(await aiohttp_client(app.create(wished)), key, wished)
    await api.made("/domains", domain())
    return api


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[chromium.Chromium]:
    async with chromium.Chromium(tmp_path) as running:
        yield running
