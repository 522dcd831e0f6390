"""Lists: order, paging, filters, and that one of many pages is streamed whole."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
import pytest_asyncio
from restapi import Api, alias, domain, mailbox

LISTS = ["/domains", "/mailboxes", "/aliases", "/keys", "/changes"]
NAMES = ["100%", "50_50", "a\\b", "5050", "Ann", "ann", "Ünal", "%%", "\\%"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listed(shared: Api) -> Api:
    """Mailboxes named after NAMES, five aliases, and a domain that is switched off."""
    await shared.made("/domains", domain("example.org", active=False, description="100% off_line"))
    for number, name in enumerate(NAMES):
        body = mailbox(f"m{number}@example.org", name=name, active=number % 2 == 0)
        await shared.made("/mailboxes", body)
    for number in range(5):
        await shared.made("/aliases", alias(f"a{number}@example.org", "ann@example.com"))
    return shared


def following(link: str) -> str:
    """The address of the next page."""
    found = re.fullmatch(r'<([^>]+)>; rel="next"', link)
    assert found, link
    return found[1]


@pytest.mark.parametrize("path", LISTS)
async def test_everything_by_default(listed: Api, still: Api, path: str) -> None:
    """A JSON array of all objects as GET shows each, with their number."""
    answer = await listed.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["X-Total-Count"] == str(len(answer.json))
    assert "Link" not in answer.headers
    assert len(answer.json) >= 2 or path == "/keys"
    if path != "/changes":
        key = {"/domains": "domain", "/mailboxes": "email"}.get(path, "id")
        for item in answer.json[:3]:
            assert (await listed.get(f"{path}/{item[key]}")).json == item


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
async def test_pages_make_the_whole(listed: Api, still: Api, path: str, limit: int) -> None:
    """Following the links gives each object once, in the order of the whole list."""
    whole = (await listed.get(path)).json
    page = await listed.get(f"{path}?limit={limit}")
    found, pages = page.json, 1
    while "Link" in page.headers:
        page = await listed.get(following(page.headers["Link"]))
        assert page.headers["X-Total-Count"] == str(len(whole))
        assert 0 < len(page.json) <= limit
        found, pages = found + page.json, pages + 1
    assert found == whole
    assert pages == -(-len(whole) // limit)


async def test_links_keep_the_filters(listed: Api, still: Api) -> None:
    """The next page is one of the same list."""
    page = await listed.get("/mailboxes?domain=example.org&active=true&q=%40example&limit=2")
    target = following(page.headers["Link"])
    assert target.startswith("/api/v1/mailboxes?")
    found = page.json + (await listed.get(target)).json
    assert [item["email"] for item in found] == [
        f"m{number}@example.org" for number in (0, 2, 4, 6)
    ]


async def test_the_order_is_stable(listed: Api, still: Api) -> None:
    """Domains and mailboxes by name, aliases and keys by number, changes newest first."""
    for path, key in (("/domains", "domain"), ("/mailboxes", "email"), ("/aliases", "id")):
        keys = [item[key] for item in (await listed.get(path)).json]
        assert keys == sorted(keys)
    numbers = [line["id"] for line in (await listed.get("/changes")).json]
    assert numbers == sorted(numbers, reverse=True)


async def test_behind_a_key_that_is_gone(listed: Api, still: Api) -> None:
    """`after` is a place in the order, not an object that must be there."""
    found = (await listed.get("/mailboxes?after=m6x@example.org")).json
    assert [item["email"] for item in found] == ["m7@example.org", "m8@example.org"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=%25", [0, 7, 8]),
        ("q=_", [1]),
        ("q=%5C", [2, 8]),
        ("q=50_50", [1]),
        ("q=5050", [3]),
        ("q=ann", [4, 5]),
        ("q=ANN", [4, 5]),
        ("q=%C3%9C", [6]),
        ("q=%25%25", [7]),
        ("q=m3%40", [3]),
        ("q='%20OR%201=1%20--", []),
        ("q=%00", []),
        ("q=" + "x" * 2000, []),
        ("active=true", [0, 2, 4, 6, 8]),
        ("active=0", [1, 3, 5, 7]),
        ("active=false&q=ann", [5]),
    ],
)
async def test_filters(listed: Api, still: Api, query: str, expected: list[int]) -> None:
    """`q` is a substring of address or name, its signs literal; filters narrow each other."""
    answer = await listed.get(f"/mailboxes?domain=Example.ORG&{query}")
    assert [item["email"] for item in answer.json] == [f"m{n}@example.org" for n in expected]
    assert answer.headers["X-Total-Count"] == str(len(expected))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/domains?q=off_", ["example.org"]),
        ("/domains?q=ffx", []),
        ("/domains?active=true", ["example.com"]),
        ("/domains?domain=example.org", ["example.org"]),
        ("/domains?domain=b%C3%BCcher.example", []),
        ("/aliases?domain=example.com", ["info@example.com"]),
        ("/aliases?q=A3", ["a3@example.org"]),
        ("/changes?domain=example.com&q=info", ["info@example.com"]),
        ("/changes?q=nobody", []),
        ("/mailboxes?q=", 11),
    ],
)
async def test_filters_of_other_lists(
    listed: Api, still: Api, path: str, expected: list[str] | int
) -> None:
    """Domains and aliases are found by description too, changes by who made them."""
    found = (await listed.get(path)).json
    if isinstance(expected, int):
        assert len(found) == expected
    else:
        names = [item.get("address") or item.get("name") or item.get("domain") for item in found]
        assert names == expected


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=",
        "limit=1.0",
        "limit=%D9%A1",
        "limit=1e2",
        "limit=" + "9" * 30,
        "limit=1&limit=2",
        "active=yes",
        "active=",
        "active=1&active=0",
        "domain=",
        "domain=example",
        "domain=a%20b.c",
        "x=1",
        "offset=3",
        "Limit=3",
        "q=a&q=b",
    ],
)
@pytest.mark.parametrize("path", ["/domains", "/mailboxes", "/aliases"])
async def test_parameters_refused(listed: Api, still: Api, path: str, query: str) -> None:
    """A parameter that means nothing, or two things, is an error and not ignored."""
    answer = await listed.get(f"{path}?{query}")
    assert answer.status == 400
    assert answer.json["code"] == "invalid"
    assert "offset" not in answer.text


@pytest.mark.parametrize("path", ["/aliases?after=x", "/keys?after=-1", "/changes?after=1%00"])
async def test_after_a_number(still: Api, path: str) -> None:
    """Where objects have numbers, `after` is one."""
    (await still.get(path)).fault(400, "invalid", "after")


@pytest.mark.parametrize(
    "path", ["/domains/example.com", "/mailboxes/ann@example.com", "/aliases/1"]
)
async def test_one_object_takes_no_parameters(still: Api, path: str) -> None:
    """What would be ignored is refused."""
    assert (await still.get(f"{path}?active=true")).status == 400


async def test_more_than_a_page(api: Api) -> None:
    """2500 objects come as one array, streamed in chunks, whole and in order."""
    await api.made("/domains", domain(aliases=3000))
    for begin in range(0, 2500, 500):
        items = [
            {
                "method": "POST",
                "path": "/aliases",
                "body": alias(f"a{n}@example.com", "x@b.example"),
            }
            for n in range(begin, begin + 500)
        ]
        assert (await api.post("/batch", items)).status == 200
    answer = await api.get("/aliases")
    assert answer.headers["X-Total-Count"] == "2500"
    assert "Content-Length" not in answer.headers
    assert [item["address"] for item in answer.json] == [f"a{n}@example.com" for n in range(2500)]
    assert len((await api.get("/aliases?q=a1")).json) == 1111
    assert len((await api.get("/aliases?limit=1000")).json) == 1000
    head = await api.head("/aliases")
    assert (head.status, head.raw, head.headers["X-Total-Count"]) == (200, b"", "2500")


@pytest.mark.parametrize("number", [0, 999, 1000, 1001])
async def test_the_borders_of_a_page(api: Api, number: int) -> None:
    """No object is lost or doubled where the list ends with a page."""
    await api.made("/domains", domain(aliases=3000))
    items = [
        {"method": "POST", "path": "/aliases", "body": alias(f"a{n}@example.com", "x@b.example")}
        for n in range(number)
    ]
    for part in filter(None, (items[:1000], items[1000:])):
        assert (await api.post("/batch", part)).status == 200
    assert len((await api.get("/aliases")).json) == number
    page = await api.get("/aliases?limit=1000")
    assert len(page.json) == min(number, 1000)
    assert ("Link" in page.headers) == (number > 1000)


async def test_lists_during_changes(filled: Api) -> None:
    """A list that is read while objects come and go is valid JSON, without doubles."""

    async def change() -> None:
        for number in range(20):
            await filled.made("/mailboxes", mailbox(f"x{number}@example.com"))
            await filled.delete(f"/mailboxes/x{number}@example.com")

    changing = asyncio.create_task(change())
    while not changing.done():
        emails = [item["email"] for item in json.loads((await filled.get("/mailboxes")).raw)]
        assert emails == sorted(set(emails))
        assert emails[:2] == ["ann@example.com", "bob@example.com"]
    await changing
