"""POST /batch: all or nothing, in one transaction and one generation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from restapi import HASH, Api, alias, domain, mailbox


def item(method: str, path: str, body: Any = None) -> dict[str, Any]:
    found = {"method": method, "path": path}
    return found if body is None else found | {"body": body}


EVERYTHING = [
    item("POST", "/domains", domain("new.example")),
    item("POST", "/mailboxes", mailbox("a@new.example")),
    item("POST", "/aliases", alias("b@new.example", "a@new.example")),
    item("PUT", "/mailboxes/A%40new.example", {"name": "A"}),
    item("PUT", "/domains/NEW.example", {"description": "x"}),
    item("DELETE", "/mailboxes/ann@example.com"),
    item("DELETE", "/domains/example.com?cascade=true"),
]


async def test_later_changes_see_earlier_ones(filled: Api) -> None:
    """One generation, one transaction, an answer for each in its order, as if it came alone."""
    generation, batches = filled.generation(), filled.context.writer.batches
    answer = await filled.post("/batch", EVERYTHING)
    assert answer.status == 200
    assert [found["status"] for found in answer.json] == [201, 201, 201, 200, 200, 200, 200]
    assert [found["msg"] for found in answer.json] == [
        "Domain has been added to system",
        "Mailbox has been added",
        "Alias has been added",
        "Mailbox has been updated",
        "Domain has been updated",
        "Mailbox has been removed",
        "Domain has been removed",
    ]
    assert {found["generation"] for found in answer.json} == {generation + 1}
    assert filled.generation() == generation + 1
    assert filled.context.writer.batches == batches + 1
    assert all(found["applied"] and found["type"] == "success" for found in answer.json)
    assert answer.json[3]["data"] == (await filled.get("/mailboxes/a@new.example")).json
    assert "detail" in answer.json[5]
    assert filled.file("virtual_mailbox_domains").split()[0] == "new.example"
    assert "example.com" not in filled.file("users")


@pytest.mark.parametrize("place", range(len(EVERYTHING) + 1))
async def test_one_refused_refuses_all(still: Api, place: int) -> None:
    """Its error stands in its place, the others say that they were not stored."""
    bad = item("PUT", "/aliases/99", {"active": True})
    answer = await still.post("/batch", [*EVERYTHING[:place], bad, *EVERYTHING[place:]])
    assert answer.status == 404
    assert [found["status"] for found in answer.json].index(404) == place
    for number, found in enumerate(answer.json):
        assert found["type"] == "error"
        assert (found["status"], found["code"]) == (
            (404, "not_found") if number == place else (424, "not_stored")
        )


@pytest.mark.parametrize(
    ("bad", "status", "code"),
    [
        (item("POST", "/domains", domain("x")), 400, "invalid"),
        (item("POST", "/domains", domain("example.com")), 409, "exists"),
        (item("DELETE", "/domains/example.com"), 409, "not_empty"),
        (item("POST", "/mailboxes", mailbox("a@b.example")), 404, "not_found"),
        (item("PUT", "/domains/example.com", {"mailboxes": 0}), 400, "limit_exceeded"),
        (item("PUT", "/domains", {}), 400, "invalid"),
        (item("POST", "/domains/x.example", {}), 400, "invalid"),
        (item("DELETE", "/domains"), 400, "invalid"),
        (item("POST", "/mailboxes"), 400, "invalid"),
        (
            item("POST", "/aliases", alias("n@example.com", "gone@example.com")),
            400,
            "target_not_found",
        ),
    ],
)
async def test_each_error_as_if_it_came_alone(
    still: Api, bad: dict[str, Any], status: int, code: str
) -> None:
    """The whole has the refused one's status."""
    answer = await still.post("/batch", [item("PUT", "/aliases/1", {"active": False}), bad])
    assert (answer.status, answer.json[1]["status"], answer.json[1]["code"]) == (
        status,
        status,
        code,
    )
    assert answer.json[0]["code"] == "not_stored"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "domains",
        "//domains",
        "//evil.example/domains",
        "http://evil.example/domains",
        "http:/domains",
        "/api/v1/domains",
        "/../domains",
        "/./domains",
        "/x/../domains",
        "/domains/../keys",
        "/domains/a/../../keys",
        "/%64omains/",
        "/domains/",
        "/domains//",
        "/Domains",
        "/keys",
        "/keys/1",
        "/batch",
        "/apply",
        "/status",
        "/mailboxes/a%2Fb",
        "/mailboxes/ann%2540example.com",
        "/mailboxes/ann@example.com/",
        "/mailboxes/ann@example.com\0",
        "/mailboxes/ann@example.com\n",
        "/mailboxes/%ff",
        "/mailboxes/%",
        "/aliases/1;x",
        "/aliases/1?x=1",
        "/aliases/1?cascade=true",
        "/domains/example.com?cascade=true&cascade=false",
        "/domains/example.com#?cascade=true",
        "/domains/example.com?Cascade=true",
        "\\domains",
        "/domains/\u202eexample.com",
        "[",
        "http://[::1",
        "/domains/example.com:99999",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_hostile_paths(still: Api, method: str, path: str) -> None:
    """A path is /resource or /resource/name; anything else is refused with 400, 404, 405 or 409."""
    body = None if method == "DELETE" else {}
    answer = await still.post("/batch", [item(method, path, body)])
    assert answer.status in (400, 404, 405, 409), answer.text
    assert answer.json[0]["status"] == answer.status
    assert "evil" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [],
        "x",
        1,
        {"method": "DELETE", "path": "/aliases/1"},
        [1],
        [None],
        [[]],
        ["DELETE /aliases/1"],
        [{}],
        [{"method": "DELETE"}],
        [{"path": "/aliases/1"}],
        [{"method": "delete", "path": "/aliases/1"}],
        [{"method": "GET", "path": "/aliases/1"}],
        [{"method": "PATCH", "path": "/aliases/1", "body": {}}],
        [{"method": "DELETE", "path": 1}],
        [{"method": "DELETE", "path": "/aliases/1", "x": 1}],
        [{"method": "DELETE", "path": "/aliases/" + "1" * 2000}],
        [{"method": "POST", "path": "/aliases", "body": []}],
        [{"method": "POST", "path": "/aliases", "body": "x"}],
        [{"method": "DELETE", "path": "/aliases/1", "headers": {}}],
        [item("DELETE", "/aliases/1")] * 1001,
        [item("PUT", "/mailboxes/ann@example.com", {"password": "long enough"})] * 101,
    ],
)
async def test_what_is_no_batch(still: Api, body: Any) -> None:
    """1 to 1000 changes, each a method, a path and a body, at most 100 passwords."""
    answer = await still.post("/batch", body)
    answer.fault(400, "invalid", *(error["field"] for error in answer.json.get("errors", [])))


async def test_a_thousand(api: Api) -> None:
    """1000 changes are one generation, in order, each with its answer."""
    await api.made("/domains", domain())
    items = [item("POST", "/mailboxes", mailbox(f"m{n}@example.com")) for n in range(1000)]
    answer = await api.post("/batch", items)
    assert answer.status == 200
    assert [found["id"] for found in answer.json] == [f"m{n}@example.com" for n in range(1000)]
    assert api.generation() == 2
    assert api.file("users").count("\n") == 1000
    items.append(item("POST", "/domains", domain("example.org")))
    assert (await api.post("/batch", items)).status == 400


async def test_a_thousand_and_the_last_is_refused(api: Api) -> None:
    """Nothing of it is stored."""
    await api.made("/domains", domain(mailboxes=999))
    before = api.everything()
    items = [item("POST", "/mailboxes", mailbox(f"m{n}@example.com")) for n in range(1000)]
    answer = await api.post("/batch", items)
    assert (answer.status, answer.json[999]["code"]) == (400, "limit_exceeded")
    assert {found["code"] for found in answer.json[:999]} == {"not_stored"}
    assert api.everything() == before


async def test_a_hundred_passwords(api: Api) -> None:
    """100 are hashed, and hashes are not counted among them."""
    await api.made("/domains", domain())
    items = [
        item("POST", "/mailboxes", mailbox(f"p{n}@example.com", password="long enough"))
        for n in range(100)
    ]
    items += [
        item("PUT", f"/mailboxes/p{n}@example.com", {"password_hash": HASH}) for n in range(50)
    ]
    assert (await api.post("/batch", items)).status == 200


async def test_the_position_of_a_bad_item(still: Api) -> None:
    """The message tells the number of an item that is none, the field what is wrong with it."""
    body = [item("DELETE", "/aliases/1"), item("GET", "/aliases/1")]
    assert "1" in (await still.post("/batch", body)).fault(400, "invalid", "method")


async def test_a_limited_key(filled: Api) -> None:
    """Each change is judged for the key; one outside its domains refuses all."""
    await filled.made("/domains", domain("example.org"))
    own = filled.key(domains=["example.com"])
    good = item("POST", "/aliases", alias("n@example.com", "o@b.example"))
    before = filled.everything()
    bad = item("POST", "/aliases", alias("n@example.org", "o@b.example"))
    answer = await own.post("/batch", [good, bad])
    assert (answer.status, answer.json[1]["code"]) == (403, "forbidden")
    assert filled.everything() == before
    assert (await own.post("/batch", [good])).status == 200


async def test_changes_that_change_nothing(filled: Api) -> None:
    """They are answered, and the generation stays."""
    before = filled.everything()
    answer = await filled.post("/batch", [item("PUT", "/aliases/1", {"active": True})] * 3)
    assert [found["status"] for found in answer.json] == [200] * 3
    assert {found["generation"] for found in answer.json} == {filled.generation()}
    assert filled.everything() == before


async def test_respond_async(filled: Api) -> None:
    """Who does not wait gets 202 for the whole and for each."""
    items = [item("PUT", "/aliases/1", {"active": False}), item("DELETE", "/aliases/1")]
    answer = await filled.post("/batch", items, Prefer="respond-async")
    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "respond-async")
    assert [(found["status"], found["applied"]) for found in answer.json] == [(202, False)] * 2


async def test_nothing_is_repeated(still: Api) -> None:
    """Refused values, keys and secrets of a batch are in no answer."""
    canary = "canary"
    for body in (
        [{"method": canary, "path": canary}],
        [item("PUT", f"/{canary}", {canary * 20: canary})],
        [item("POST", "/mailboxes", mailbox(f"{canary} @example.com"))],
        [item("PUT", "/mailboxes/ann@example.com", {"password": canary})],
        [item("PUT", f"/domains/{canary}", {})],
    ):
        assert canary not in json.dumps((await still.post("/batch", body)).json)
