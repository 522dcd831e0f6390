"""/password in a real Chromium: with the keyboard alone, with errors, in the dark, on a phone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

import pytest
from chromium import SHIFT, Chromium, Page
from restapi import Api, mailbox

ANN = "ann@example.com"
OLD, NEW = "the password so far", "quite another one"
FOCUS = "document.activeElement.id || document.activeElement.tagName"
AXE = resources.files("axe_playwright_python") / "axe.min.js"


@pytest.fixture
async def page(api: Api, browser: Chromium) -> AsyncIterator[Page]:
    """The form; ann@example.com must change her password. The browser may find no fault."""
    await api.made("/mailboxes", mailbox(ANN, password=OLD, force_pw_update=True))
    page = await browser.open(f"http://127.0.0.1:{api.port}/password")
    yield page
    assert [line for line in page.console if "Failed to load resource" not in line] == []
    addresses = [address for address in page.requests if not address.startswith("data:")]
    assert set(addresses) == {f"http://127.0.0.1:{api.port}/password"}
    await page.close()


async def fill(page: Page, *texts: str) -> None:
    """Type into one field after the other, beginning with the one that has the focus."""
    for text in texts:
        await page.type(text)
        await page.press("Tab")


async def submit(page: Page, *texts: str) -> None:
    """Fill the form from its top and send it."""
    await page.run("document.getElementById('email').select()")
    await fill(page, *texts)
    async with page.loading():
        await page.press("Enter")


async def test_with_the_keyboard_alone(api: Api, page: Page) -> None:
    """Tab reaches each field in order and then the button, and Enter sends the form."""
    for name, text in (("email", ANN), ("current", OLD), ("new", NEW), ("repeated", NEW)):
        await page.press("Tab")
        assert await page.run(FOCUS) == name
        assert await page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        await page.type(text)
    await page.press("Tab")
    assert await page.run(FOCUS) == "BUTTON"
    async with page.loading():
        await page.press("Enter")
    assert f"The new password of {ANN} works from now on." in await page.text()
    assert (await api.get(f"/mailboxes/{ANN}")).json["force_pw_update"] is False
    await page.press("Tab")
    async with page.loading():
        await page.press("Enter")
    assert await page.run("document.querySelectorAll('input').length") == 4


async def test_errors(page: Page) -> None:
    """The summary has the focus, its links lead to the fields, and the address need not be typed
    again.
    """
    await submit(page, ANN, OLD, "short", "short")
    assert await page.run("document.activeElement.getAttribute('role')") == "alert"
    assert "The password was not changed" in await page.text()
    assert (await page.run("document.title")).startswith("Error: ")
    assert await page.run("document.getElementById('email').value") == ANN
    assert not await page.run("document.getElementById('current').value")
    await page.press("Tab")
    await page.press("Enter")
    await page.until(f"({FOCUS}) === 'new'")
    described = "document.getElementById('new').getAttribute('aria-describedby').split(' ')"
    texts = await page.run(f"{described}.map(id => document.getElementById(id).innerText)")
    assert texts == [
        "At least 8 characters. Long is better than complicated.",
        "Enter a new password of at least 8 characters.",
    ]
    await page.press("Tab", SHIFT)
    assert await page.run(FOCUS) == "current"
    await page.type(OLD)
    await page.press("Tab")
    await fill(page, NEW, NEW)
    async with page.loading():
        await page.press("Enter")
    assert "works from now on" in await page.text()


async def test_a_wrong_password(page: Page) -> None:
    """It is said above the form, in words that fit an unknown address, too."""
    await submit(page, ANN, "a wrong one", NEW, NEW)
    assert "The address or the current password is wrong." in await page.text()


async def test_password_programs(page: Page) -> None:
    """Pasting works, and each field says what it holds."""
    kinds = "[...document.querySelectorAll('input')].map(i => [i.type, i.autocomplete])"
    assert await page.run(kinds) == [
        ["email", "username"],
        ["password", "current-password"],
        ["password", "new-password"],
        ["password", "new-password"],
    ]
    for name, text in (("email", ANN), ("current", OLD), ("new", NEW), ("repeated", NEW)):
        await page.run(f"document.getElementById('{name}').focus()")
        await page.paste(text)
    async with page.loading():
        await page.press("Enter")
    assert "works from now on" in await page.text()


async def test_dark(page: Page) -> None:
    """The page follows the system's colours: light letters on dark ground, and the other way."""
    light = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] > 127"
    assert await page.run(light)
    await page.dark()
    assert not await page.run(light)
    assert await page.run("getComputedStyle(document.body).color.match(/\\d+/g)[0] > 127")


async def test_on_a_phone(page: Page) -> None:
    """320 pixels are enough, even with errors, and the button is large enough for a finger."""
    await page.size(320, 640, mobile=True)
    await submit(page, "x", "", "", "")
    assert await page.run("document.documentElement.scrollWidth") == 320
    assert await page.run("document.querySelector('button').offsetHeight") >= 44


async def test_without_scripts(api: Api, page: Page) -> None:
    """Where scripts are switched off, everything works."""
    await page.send("Emulation.setScriptExecutionDisabled", value=True)
    await page.goto(f"http://127.0.0.1:{api.port}/password")
    for text in (ANN, OLD, NEW, NEW):
        await page.press("Tab")
        await page.type(text)
    async with page.loading():
        await page.press("Enter")
    assert (await api.get(f"/mailboxes/{ANN}")).json["force_pw_update"] is False


async def violations(page: Page, axe: str) -> list[Any]:
    """What axe-core has to say: the rules of WCAG 2.2 A and AA, and good practice."""
    await page.run(axe)
    found = await page.run("axe.run().then(r => JSON.stringify(r.violations))")
    return [(rule["id"], rule["help"]) for rule in json.loads(found)]


async def test_accessible(page: Page) -> None:
    """axe-core finds no fault with the form, its errors and the message, light and dark."""
    axe = AXE.read_text(encoding="utf-8")
    for scheme in ("light", "dark"):
        await page.dark(scheme)
        assert await violations(page, axe) == []
        await submit(page, "x", "", "", "")
        assert await violations(page, axe) == []
    await submit(page, ANN, OLD, NEW, NEW)
    assert "works from now on" in await page.text()
    assert await violations(page, axe) == []
