"""Aliases: addresses and targets, catch-alls, renaming and removal."""

from __future__ import annotations

from typing import Any

import pytest
from restapi import DOMAIN, Api, alias, domain, mailbox

OUT = "out@example.net"


async def test_a_new_alias(api: Api) -> None:
    """201, the documented message, its number, and the whole object; two fields have a default."""
    await api.made("/domains", DOMAIN)
    answer = await api.post("/aliases", alias("info@example.com", OUT))
    assert (answer.status, answer.json["msg"]) == (201, "Alias has been added")
    assert answer.headers["Location"] == f"/api/v1/aliases/{answer.json['id']}"
    shown = (await api.get(answer.headers["Location"])).json
    assert shown == answer.json["data"]
    assert shown.pop("created") == shown.pop("modified")
    assert shown == {
        "id": answer.json["id"],
        "address": "info@example.com",
        "domain": "example.com",
        "goto": OUT,
        "active": True,
        "description": "",
    }
    assert api.file("virtual_alias_maps") == f"info@example.com {OUT}\n"


async def test_required_fields(still: Api) -> None:
    """The address and the targets are asked for by name."""
    (await still.post("/aliases", {"goto": OUT})).fault(400, "invalid", "address")
    (await still.post("/aliases", {"address": "a@example.com"})).fault(400, "invalid", "goto")
    (await still.post("/aliases", {})).fault(400, "invalid", "address", "goto")


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("Sales@Example.COM", "sales@example.com"),
        ("a+b@example.com", "a+b@example.com"),
        ("ann+tag@example.com", "ann+tag@example.com"),
        ("@EXAMPLE.com", "@example.com"),
        ("o'neil@example.com", "o'neil@example.com"),
    ],
)
async def test_addresses_taken(filled: Api, address: str, stored: str) -> None:
    """As for mailboxes, with + allowed; or the catch-all; folded to lower case."""
    assert (await filled.made("/aliases", alias(address, OUT)))["data"]["address"] == stored


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "a@",
        "@",
        "@@example.com",
        "a b@example.com",
        "a%b@example.com",
        "a@b@example.com",
        "++@example.com",
        ".a@example.com",
        "a@example",
        '"a"@example.com',
        "a\n@example.com",
    ],
)
async def test_addresses_refused(still: Api, address: str) -> None:
    """What is no full address is refused and not repeated."""
    answer = await still.post("/aliases", alias(address, OUT))
    answer.fault(400, "invalid", "address")
    assert len(address) < 8 or address not in answer.text


async def test_the_domain_must_exist(still: Api) -> None:
    """404 for an address in a domain that is not there."""
    (await still.post("/aliases", alias("a@example.org", OUT))).fault(404, "not_found")


@pytest.mark.parametrize("address", ["ann@example.com", "INFO@example.com"])
async def test_an_address_is_one_thing(still: Api, address: str) -> None:
    """409 for the address of a mailbox or of another alias."""
    (await still.post("/aliases", alias(address, OUT))).fault(409, "exists")


async def test_as_many_aliases_as_the_domain_may_have(api: Api) -> None:
    """The one too many is refused, and the message says the limit; a catch-all counts."""
    await api.made("/domains", domain(aliases=2))
    await api.made("/aliases", alias("@example.com", OUT))
    await api.made("/aliases", alias("b@example.com", OUT))
    answer = await api.post("/aliases", alias("c@example.com", OUT))
    assert "2 aliases" in answer.fault(400, "limit_exceeded")


async def test_a_catch_all_spares_mailboxes(filled: Api) -> None:
    """Each mailbox of the domain gets an entry to itself, also one that comes later."""
    await filled.made("/aliases", alias("@example.com", OUT))
    await filled.made("/mailboxes", mailbox("new@example.com"))
    lines = filled.file("virtual_alias_maps").splitlines()
    assert f"@example.com {OUT}" in lines
    for local_part in ("ann", "bob", "new"):
        assert f"{local_part}@example.com {local_part}@example.com" in lines


async def test_put_changes_what_is_given(filled: Api) -> None:
    """Fields that are not given stay."""
    before = (await filled.get("/aliases/1")).json
    answer = await filled.put("/aliases/1", {"description": "Info\n\t🙂"})
    assert (answer.json["msg"], answer.json["id"]) == ("Alias has been updated", 1)
    assert answer.json["data"] == (await filled.get("/aliases/1")).json
    expected = before | {"description": "Info\n\t🙂", "modified": ""}
    assert answer.json["data"] | {"modified": ""} == expected


async def test_what_was_read_can_be_put(still: Api) -> None:
    """The read shape is the write shape, and putting it back changes nothing."""
    shown = (await still.get("/aliases/1")).json
    assert await still.changed("/aliases/1", shown) == shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 2),
        ("id", "1"),
        ("id", True),
        ("domain", "example.org"),
        ("created", ""),
        ("modified", None),
    ],
)
async def test_read_only_fields(still: Api, field: str, value: Any) -> None:
    """A read-only field that differs, if only in its type, is refused."""
    (await still.put("/aliases/1", {field: value})).fault(400, "invalid", field)


async def test_an_alias_that_is_off(filled: Api) -> None:
    """It stays an object, but is in no map."""
    await filled.changed("/aliases/1", {"active": False})
    assert filled.file("virtual_alias_maps") == ""
    assert (await filled.get("/aliases/1")).json["active"] is False
    (await filled.post("/mailboxes", mailbox("info@example.com"))).fault(409, "exists")


async def test_rename(filled: Api) -> None:
    """An alias keeps its number under a new address, and the old one is free."""
    data = await filled.changed("/aliases/1", {"address": "Contact@example.com"})
    assert (data["id"], data["address"]) == (1, "contact@example.com")
    assert filled.file("virtual_alias_maps") == "contact@example.com ann@example.com\n"
    await filled.made("/mailboxes", mailbox("info@example.com"))


@pytest.mark.parametrize("address", ["ann@example.com", "second@example.com"])
async def test_rename_to_a_taken_address(filled: Api, address: str) -> None:
    """409, as for a new alias."""
    await filled.made("/aliases", alias("second@example.com", OUT))
    before = filled.everything()
    (await filled.put("/aliases/1", {"address": address})).fault(409, "exists")
    assert filled.everything() == before


async def test_rename_into_another_domain(filled: Api) -> None:
    """The other domain must exist and have room; the numbers in use follow."""
    (await filled.put("/aliases/1", {"address": "a@example.org"})).fault(404, "not_found")
    await filled.made("/domains", domain("example.org", aliases=0))
    answer = await filled.put("/aliases/1", {"address": "a@example.org"})
    answer.fault(400, "limit_exceeded")
    await filled.changed("/domains/example.org", {"aliases": 1})
    data = await filled.changed("/aliases/1", {"address": "a@example.org"})
    assert data["domain"] == "example.org"
    for name, used in (("example.org", 1), ("example.com", 0)):
        assert (await filled.get(f"/domains/{name}")).json["aliases_used"] == used


async def test_rename_of_a_target(filled: Api) -> None:
    """An alias to which others lead keeps its address until these are changed."""
    await filled.made("/aliases", alias("chain@example.com", "info+x@example.com"))
    answer = await filled.put("/aliases/1", {"address": "new@example.com"})
    answer.fault(400, "invalid", "address")


async def test_rename_to_its_own_target(still: Api) -> None:
    """No alias becomes its own target."""
    (
        await still.put("/aliases/1", {"address": "new@example.com", "goto": "new@example.com"})
    ).fault(400, "alias_loop", "goto")


async def test_delete(filled: Api) -> None:
    """The alias goes, the answer has no data, its number is never given again."""
    answer = await filled.delete("/aliases/1")
    assert (answer.status, answer.json["msg"], answer.json["id"]) == (
        200,
        "Alias has been removed",
        1,
    )
    assert "data" not in answer.json
    assert filled.file("virtual_alias_maps") == ""
    assert (await filled.made("/aliases", alias("info@example.com", OUT)))["id"] == 2


async def test_delete_takes_it_out_of_others(filled: Api) -> None:
    """Aliases that led to it lose the target; those that led nowhere else go with it."""
    await filled.made("/aliases", alias("both@example.com", f"info@example.com,{OUT}"))
    await filled.made("/aliases", alias("only@example.com", "info@example.com"))
    await filled.delete("/aliases/1")
    left = {item["address"]: item["goto"] for item in (await filled.get("/aliases")).json}
    assert left == {"both@example.com": OUT}


@pytest.mark.parametrize("number", ["2", "0", "-1", "1.0", "01x", "%31%00", "1" * 30, "x", "1e0"])
async def test_no_such_alias(still: Api, number: str) -> None:
    """Whatever is no alias's number is not found, for each method."""
    for method, body in (("GET", None), ("PUT", b"{}"), ("DELETE", None)):
        (await still.send(method, f"/aliases/{number}", data=body)).fault(404, "not_found")
