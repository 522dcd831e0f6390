"""/api/v1/docs: the page, its files, and what a browser may do there."""

from __future__ import annotations

import pytest
from restapi import Api

from mailapi.web import docs


async def test_the_page(still: Api) -> None:
    """It is open, and allows scripts and styles of this site only, none of them inline."""
    answer = await still.using(None).get("/docs")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(
        part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "connect")} == {"'self'"}
    assert "<style" not in answer.text
    assert "http" not in answer.text


@pytest.mark.parametrize("name", docs.FILES)
async def test_files(still: Api, name: str) -> None:
    """Each file is open, of its type, and not sent again to who has it."""
    answer = await still.using(None).get(f"/docs/{name}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == f"{docs.FILES[name]}; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    again = await still.using(None).get(f"/docs/{name}", If_None_Match=answer.headers["ETag"])
    assert (again.status, again.raw) == (304, b"")


@pytest.mark.parametrize(
    "name",
    [
        "index.html",
        "LICENSE",
        "..%2f..%2fapp.py",
        "%2e%2e/docs.py",
        "..",
        "%00",
        "swagger-ui",
        "x" * 500,
    ],
)
async def test_no_other_files(still: Api, name: str) -> None:
    """Nothing else can be fetched there."""
    assert (await still.get(f"/docs/{name}")).status == 404
