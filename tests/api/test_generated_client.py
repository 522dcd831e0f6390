"""A client that a public generator, openapi-python-client, makes of the OpenAPI document works."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from restapi import ALIAS, DOMAIN, MAILBOX, Api

from mailapi.api import openapi

NAME = "generated_client"
Ended = subprocess.CompletedProcess[str]
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    """The generator, which has ended; its package can be imported."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_text(json.dumps(openapi.document()))
    (folder / "config.json").write_text(json.dumps({"post_hooks": []}))  # no ruff for its code
    done = subprocess.run(
        [
            Path(sys.executable).with_name("openapi-python-client"),
            *("generate", "--meta=none", "--fail-on-warning"),
            *("--path=openapi.json", "--config=config.json", f"--output-path={NAME}"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(folder)
        yield done


@pytest.fixture
def models(generator: Ended) -> ModuleType:
    return importlib.import_module(f"{NAME}.models")


@pytest.fixture
async def call(generator: Ended, api: Api) -> AsyncIterator[Call]:
    """Call an operation of the client: `await call("domains.get_domain", domain="…")`."""
    client = importlib.import_module(f"{NAME}.client").AuthenticatedClient(
        base_url=f"http://127.0.0.1:{api.port}/api/v1",
        token=api.secret,
        raise_on_unexpected_status=True,
        httpx_args={"trust_env": False},  # no proxy
    )

    def calling(operation: str, **arguments: Any) -> Any:
        module = importlib.import_module(f"{NAME}.api.{operation}")
        return module.asyncio(client=client, **arguments)

    async with client:
        yield calling


def test_no_warnings(generator: Ended) -> None:
    """The generator understands all of the document."""
    assert generator.returncode == 0, generator.stdout
    assert "arning" not in generator.stdout + generator.stderr
    assert generator.stdout.startswith("Generating ")


def test_all_is_typed(models: ModuleType) -> None:
    """No body and no field may be anything; objects of any fields are in the change log only."""
    create = importlib.import_module(f"{NAME}.api.mailboxes.create_mailbox")
    assert create.sync.__annotations__["body"] is models.MailboxAdd
    loose = {
        f"{model}.{field}"
        for model in models.__all__
        for field, of in getattr(getattr(models, model), "__annotations__", {}).items()
        if "Any" in str(of)
    }
    free = ("ChangeAfterType0", "ChangeBeforeType0", "GetOpenApiResponse200")
    assert loose == {f"{model}.additional_properties" for model in free}


async def test_objects(call: Call, models: ModuleType) -> None:
    """Each kind is added, listed, shown, changed and removed, and comes back as an object."""
    domain = await call("domains.create_domain", body=models.DomainAdd(**DOMAIN))
    mailbox = await call("mailboxes.create_mailbox", body=models.MailboxAdd(**MAILBOX))
    alias = await call("aliases.create_alias", body=models.AliasAdd(**ALIAS))
    assert domain.data.to_dict().items() >= DOMAIN.items()
    assert (mailbox.id, mailbox.msg) == ("user@example.com", "Mailbox has been added")
    assert await call("domains.list_domains") == [
        await call("domains.get_domain", domain="example.com")
    ]
    assert await call("mailboxes.list_mailboxes", active=True) == [mailbox.data]
    assert await call("mailboxes.get_mailbox", email=mailbox.id) == mailbox.data
    assert await call("aliases.list_aliases", q="nothing") == []
    both = models.AliasUpdate(goto=["user@example.com", "ann@example.org"])
    changed = await call("aliases.update_alias", id=alias.id, body=both)
    assert await call("aliases.get_alias", id=alias.id) == changed.data
    assert changed.data.goto == "user@example.com,ann@example.org"
    removed = await call("aliases.delete_alias", id=alias.id)
    assert isinstance(removed, models.Removed)


async def test_errors(call: Call, models: ModuleType) -> None:
    """Refusals come back as objects with a code and the fields at fault."""
    missing = await call("domains.get_domain", domain="example.com")
    assert isinstance(missing, models.Error404)
    assert missing.code is models.Error404Code.NOT_FOUND
    bad = await call("domains.create_domain", body=models.DomainAdd(**DOMAIN | {"quota": 0}))
    assert isinstance(bad, models.Error400)
    assert bad.code is models.Error400Code.INVALID
    assert [error.field for error in bad.errors] == ["quota"]


async def test_batch(call: Call, models: ModuleType) -> None:
    """A batch is made of objects, and answered with one for each, refused or not."""
    add = models.BatchPostDomain(method="POST", path="/domains", body=models.DomainAdd(**DOMAIN))
    stored, removed = await call(
        "batch.run_batch",
        body=[add, models.BatchDeleteDomain(method="DELETE", path="/domains/example.com")],
    )
    assert isinstance(stored, models.BatchDomainStored)
    assert isinstance(removed, models.BatchRemoved)
    refused = await call("batch.run_batch", body=[add, add])
    assert [(type(error), error.status) for error in refused] == [
        (models.BatchError, 424),
        (models.BatchError, 409),
    ]
