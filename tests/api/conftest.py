"""A service for each test, with cheap password hashes and no limit of requests.

`still` is one service for all the tests of a module that must change nothing: each is seen to have
left every row and every octet of the files as they were.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from aiohttp.test_utils import TestClient, TestServer
from restapi import Api, domain, mailbox

from mailapi import app, config, local

Start = Callable[..., Awaitable[Api]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


def _configured(
    directory: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> tuple[config.Config, str]:
    """The configuration, and a new admin key."""
    settings = {
        "passwords__bcrypt_rounds": 4,
        "rate_limit__requests": 0,
        "rate_limit__auth_failures": 0,
    } | settings
    for name, value in settings.items():
        monkeypatch.setenv(f"MAILAPI_{name.upper()}", str(value))
    wished = config.dev(directory)
    return wished, local.add_key(wished, {"name": "admin", "scope": "admin"})


@contextlib.contextmanager
def _memory(otherwise: Path) -> Iterator[Path]:
    """A directory in memory, where the many services need not wait for the disk."""
    shared_memory = Path("/dev/shm")
    if os.access(shared_memory, os.W_OK):
        with tempfile.TemporaryDirectory(dir=shared_memory, prefix="mailapi-") as directory:
            yield Path(directory)
    else:
        yield otherwise


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where the test's service writes."""
    with _memory(tmp_path) as directory:
        yield directory


@pytest.fixture
def start(place: Path, aiohttp_client: Any, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start a service; keywords are keys of the configuration, `rate_limit__requests=5`.

    `extend` may add to the application before it starts.
    """

    async def starting(*, extend: Callable[[Any], None] | None = None, **settings: object) -> Api:
        wished, key = _configured(place, monkeypatch, settings)
        service = app.create(wished)
        if extend is not None:
            extend(service)
        return Api(await aiohttp_client(service), key, wished)

    return starting


@pytest.fixture
async def api(start: Start) -> Api:
    """A service without any object."""
    return await start()


@pytest.fixture
async def filled(api: Api) -> Api:
    """A service with the objects of `fill`."""
    return await fill(api)


async def fill(api: Api) -> Api:
    """example.com with ann@, bob@ and the alias info@, number 1, which leads to ann@."""
    await api.made("/domains", domain())
    await api.made("/mailboxes", mailbox("ann@example.com"))
    await api.made("/mailboxes", mailbox("bob@example.com"))
    await api.made("/aliases", {"address": "info@example.com", "goto": "ann@example.com"})
    return api


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """The module's service, filled; tests may add keys, nothing else."""
    with _memory(tmp_path_factory.mktemp("still")) as directory:
        with pytest.MonkeyPatch.context() as monkeypatch:
            wished, key = _configured(directory, monkeypatch, {})
        async with TestClient(TestServer(app.create(wished))) as client:
            yield await fill(Api(client, key, wished))


@pytest.fixture
def still(shared: Api) -> Iterator[Api]:
    """The module's service, filled; no request of the test may change anything."""
    before = shared.everything()
    yield shared
    assert shared.everything() == before


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What the service logs, as dictionaries."""
    with structlog.testing.capture_logs() as lines:
        yield lines
