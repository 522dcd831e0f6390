"""Domains: the fields, their limits, and what removing one takes with it."""

from __future__ import annotations

from typing import Any

import pytest
from restapi import ALIAS, DOMAIN, Api, alias, domain, mailbox


async def test_the_example(api: Api) -> None:
    """The documented body answers 201 with the documented message and the whole object."""
    answer = await api.post("/domains", DOMAIN)
    assert answer.status == 201
    assert answer.headers["Location"] == "/api/v1/domains/example.com"
    data = answer.json.pop("data")
    assert {name: answer.json[name] for name in ("type", "msg", "id", "generation", "applied")} == {
        "type": "success",
        "msg": "Domain has been added to system",
        "id": "example.com",
        "generation": 1,
        "applied": True,
    }
    shown = await api.get("/domains/example.com")
    assert shown.json == data
    times = {name: data.pop(name) for name in ("created", "modified")}
    assert times["created"] == times["modified"]
    assert data == DOMAIN | {"mailboxes_used": 0, "aliases_used": 0, "quota_used": 0}
    assert "example.com" in api.file("virtual_mailbox_domains")


async def test_only_backupmx_and_description_may_be_missing(api: Api) -> None:
    """These two have defaults; each other field is asked for by name."""
    optional = {"backupmx": False, "description": ""}
    body = {name: value for name, value in DOMAIN.items() if name not in optional}
    for name in body:
        short = {key: value for key, value in body.items() if key != name}
        (await api.post("/domains", short)).fault(400, "invalid", name)
    data = (await api.made("/domains", body))["data"]
    assert {name: data[name] for name in optional} == optional


@pytest.mark.parametrize(
    ("defquota", "maxquota", "quota", "field"),
    [
        (0, 1, 1, "defquota"),
        (2, 1, 2, "defquota"),
        (1, 3, 2, "maxquota"),
        (1, 0, 2, "maxquota"),
        (1, 1, 0, "quota"),
        (-1, 1, 1, "defquota"),
        (1, 1, 2**63 - 1, "quota"),
    ],
)
async def test_quotas_stand_in_order(
    api: Api, defquota: int, maxquota: int, quota: int, field: str
) -> None:
    """1 <= defquota <= maxquota <= quota, for POST and for PUT alike."""
    wrong = {"defquota": defquota, "maxquota": maxquota, "quota": quota}
    assert field in (await api.post("/domains", DOMAIN | wrong)).json["errors"][0]["field"]
    await api.made("/domains", DOMAIN)
    assert (await api.put("/domains/example.com", wrong)).json["errors"][0]["field"] == field
    right = {"defquota": 1, "maxquota": 1, "quota": 1}
    await api.changed("/domains/example.com", right)


async def test_put_sees_quotas_together_with_the_stored_ones(api: Api) -> None:
    """A single limit is compared with those that stay as they are."""
    await api.made("/domains", DOMAIN)
    (await api.put("/domains/example.com", {"defquota": 10241})).fault(400, "invalid", "defquota")
    (await api.put("/domains/example.com", {"quota": 10239})).fault(400, "invalid", "maxquota")


@pytest.mark.parametrize(
    "text", ["", "\n\t", "x" * 1000, "Grüße 🙂", "#!/bin/sh | $(x) %s {{ y }}"]
)
async def test_descriptions_are_kept(api: Api, text: str) -> None:
    """Free text comes back as it was and reaches no file."""
    data = (await api.made("/domains", domain(description=text)))["data"]
    assert data["description"] == text
    assert (await api.get("/domains/example.com")).json["description"] == text
    assert "{{" not in api.file("virtual_mailbox_domains")


@pytest.mark.parametrize("text", ["x" * 1001, "a\0b", "a\rb", "\x1b[2J", "\x85", "\x7f"])
async def test_descriptions_refused(still: Api, text: str) -> None:
    """More than 1000 characters, and control characters but newline and tab, are refused."""
    (await still.post("/domains", domain(description=text))).fault(400, "invalid", "description")


async def test_put_changes_what_is_given(api: Api) -> None:
    """Fields that are not given stay; the answer shows the object as GET does."""
    await api.made("/domains", DOMAIN)
    answer = await api.put("/domains/example.com", {"description": "new", "aliases": 0})
    assert (answer.status, answer.json["msg"], answer.json["id"]) == (
        200,
        "Domain has been updated",
        "example.com",
    )
    shown = (await api.get("/domains/example.com")).json
    assert answer.json["data"] == shown
    assert {k: shown[k] for k in DOMAIN} == DOMAIN | {"description": "new", "aliases": 0}


async def test_what_was_read_can_be_put(filled: Api) -> None:
    """The read shape is the write shape, and putting it back changes nothing."""
    before = filled.everything()
    shown = (await filled.get("/domains/example.com")).json
    assert (await filled.changed("/domains/example.com", shown)) == shown
    assert filled.everything() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("domain", "example.org"),
        ("mailboxes_used", 0),
        ("mailboxes_used", "2"),
        ("mailboxes_used", 2.0),
        ("aliases_used", True),
        ("quota_used", None),
        ("created", ""),
        ("modified", 1),
    ],
)
async def test_read_only_fields(still: Api, field: str, value: Any) -> None:
    """A read-only field that differs, if only in its type, is refused."""
    (await still.put("/domains/example.com", {field: value})).fault(400, "invalid", field)


async def test_the_numbers_in_use(filled: Api) -> None:
    """mailboxes_used, aliases_used and quota_used follow what the domain holds."""

    async def used() -> list[int]:
        shown = (await filled.get("/domains/example.com")).json
        return [shown[f"{name}_used"] for name in ("mailboxes", "aliases", "quota")]

    assert await used() == [2, 1, 2]
    await filled.changed("/mailboxes/ann@example.com", {"quota": 10})
    assert await used() == [2, 1, 11]
    await filled.delete("/mailboxes/bob@example.com")
    await filled.delete("/aliases/1")
    assert await used() == [1, 0, 10]


@pytest.mark.parametrize(
    ("limit", "least"), [("mailboxes", 2), ("aliases", 1), ("quota", 7), ("maxquota", 4)]
)
async def test_limits_stay_above_what_is_in_use(filled: Api, limit: str, least: int) -> None:
    """Lowering a limit too far is refused with the smallest possible value, which is taken."""
    await filled.changed("/mailboxes/ann@example.com", {"quota": 4})
    await filled.changed("/mailboxes/bob@example.com", {"quota": 3})
    await filled.changed(
        "/domains/example.com", {"defquota": 1, "maxquota": 4 + (limit != "quota")}
    )
    answer = await filled.put("/domains/example.com", {limit: least - 1})
    assert str(least) in answer.fault(400, "limit_exceeded", limit)
    assert (await filled.changed("/domains/example.com", {limit: least}))[limit] == least


async def test_zero_means_none(api: Api) -> None:
    """With a limit of 0 there can be no mailbox and no alias."""
    await api.made("/domains", domain(mailboxes=0, aliases=0))
    assert "0" in (await api.post("/mailboxes", mailbox("a@example.com"))).fault(
        400, "limit_exceeded"
    )
    answer = await api.post("/aliases", alias("a@example.com", "a@example.net"))
    assert "0" in answer.fault(400, "limit_exceeded")


async def test_delete(api: Api) -> None:
    """An empty domain goes without a trace; the answer has no data."""
    await api.made("/domains", DOMAIN)
    answer = await api.delete("/domains/example.com")
    assert (answer.status, answer.json["msg"], answer.json["id"]) == (
        200,
        "Domain has been removed",
        "example.com",
    )
    assert "data" not in answer.json
    assert api.file("virtual_mailbox_domains") == ""
    (await api.delete("/domains/example.com")).fault(404, "not_found")


@pytest.mark.parametrize("query", ["", "?cascade=false", "?cascade=0"])
async def test_a_domain_that_is_not_empty_stays(filled: Api, query: str) -> None:
    """409, as long as a mailbox or an alias is there."""
    before = filled.everything()
    (await filled.delete(f"/domains/example.com{query}")).fault(409, "not_empty")
    assert filled.everything() == before
    await filled.delete("/mailboxes/ann@example.com")  # and info@, which only led there
    (await filled.delete("/domains/example.com")).fault(409, "not_empty")
    await filled.delete("/mailboxes/bob@example.com")
    assert (await filled.delete("/domains/example.com")).status == 200


@pytest.mark.parametrize(
    "query", ["?cascade=yes", "?cascade=", "?cascade=TRUE", "?x=1", "?cascade=true&cascade=false"]
)
async def test_a_doubtful_query_removes_nothing(still: Api, query: str) -> None:
    """Only a clear cascade=true takes the domain's objects with it."""
    assert (await still.delete(f"/domains/example.com{query}")).status == 400


async def test_cascade(filled: Api) -> None:
    """The domain's objects go in one generation, the answer says how many, other aliases follow."""
    await filled.made("/domains", domain("example.org"))
    await filled.made("/aliases", alias("a@example.org", "ann@example.com,out@example.net"))
    await filled.made("/aliases", alias("b@example.org", "info@example.com"))
    await filled.made("/aliases", alias("c@example.org", "b@example.org"))
    generation = filled.generation()
    answer = await filled.delete("/domains/example.com?cascade=true")
    assert answer.json["generation"] == filled.generation() == generation + 1
    assert "2 mailboxes" in answer.json["detail"]
    assert "1 alias" in answer.json["detail"]
    left = (await filled.get("/aliases")).json
    assert [(item["address"], item["goto"]) for item in left] == [
        ("a@example.org", "out@example.net")
    ]
    assert (await filled.get("/mailboxes")).json == []
    for name in ("users", "virtual_mailbox_maps", "virtual_alias_maps", "smtpd_sender_login_maps"):
        assert "example.com" not in filled.file(name)


async def test_an_alias_that_only_cascade_would_orphan_is_counted_in_the_log(filled: Api) -> None:
    """Every object that goes has its line in the change log."""
    await filled.delete("/domains/example.com?cascade=true")
    gone = [line for line in (await filled.get("/changes")).json if line["action"] == "remove"]
    assert {line["name"] for line in gone} == {
        "example.com",
        "ann@example.com",
        "bob@example.com",
        ALIAS["address"],
    }
