"""/api/v1/docs in a real Chromium: Swagger UI works, from this host alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from chromium import Chromium, Page
from restapi import Api

CREATE = "#operations-domains-createDomain"
BODY = {
    "domain": "tried.example",
    "active": True,
    "aliases": 1,
    "mailboxes": 1,
    "defquota": 1,
    "maxquota": 1,
    "quota": 1,
}


@pytest.fixture
async def page(api: Api, browser: Chromium) -> AsyncIterator[Page]:
    """The documentation; nothing may be fetched from elsewhere, and nothing forbidden tried."""
    page = await browser.open(f"http://127.0.0.1:{api.port}/api/v1/docs")
    await page.until(f"!!document.querySelector('{CREATE}')")
    yield page
    assert [line for line in page.console if "Failed to load resource" not in line] == []
    hosts = {urlsplit(url).netloc for url in page.requests if not url.startswith("data:")}
    assert hosts == {f"127.0.0.1:{api.port}"}
    await page.close()


async def enter(page: Page, selector: str, text: str) -> None:
    """Put the text in place of what a field holds."""
    chosen = f"document.querySelector({json.dumps(selector)})"
    await page.until(f"!!{chosen}")
    await page.run(f"{chosen}.focus(), {chosen}.select()")
    await page.paste(text)


async def authorize(page: Page, key: str) -> None:
    await page.click("button.authorize")
    await enter(page, ".auth-container input", key)
    await page.click(".auth-btn-wrapper button.authorize")
    await page.click(".auth-btn-wrapper .btn-done")


async def create(page: Page) -> tuple[int, str]:
    """Try POST /domains out; the answer's status and body."""
    await page.click(f"{CREATE} button.opblock-summary-control")
    await page.click(f"{CREATE} button.try-out__btn")
    await enter(page, f"{CREATE} textarea.body-param__text", json.dumps(BODY))
    await page.click(f"{CREATE} button.execute")
    live = f"document.querySelector('{CREATE} .live-responses-table')"
    await page.until(f"!!{live}")
    status = await page.run(f"{live}.querySelector('tbody .response-col_status').innerText")
    return int(status.split()[0]), await page.run(f"{live}.innerText")


async def test_try_it_out(api: Api, page: Page) -> None:
    """With a key, "Try it out" creates the domain."""
    await authorize(page, api.secret)
    status, text = await create(page)
    assert status == 201
    assert "Domain has been added to system" in text
    assert (await api.get("/domains/tried.example")).status == 200


async def test_without_a_key(api: Api, page: Page) -> None:
    """Without one, the page shows the refusal."""
    status, text = await create(page)
    assert status == 401
    assert "unauthorized" in text
    assert (await api.get("/domains/tried.example")).status == 404


async def test_everything_is_shown(api: Api, page: Page) -> None:
    """Every operation of the document is there to be tried."""
    paths = (await api.get("/openapi.json")).json["paths"].values()
    items = [item for path in paths for item in path.values() if "operationId" in item]
    ids = await page.run("[...document.querySelectorAll('.opblock')].map(block => block.id)")
    assert {name.rpartition("-")[2] for name in ids} == {item["operationId"] for item in items}
