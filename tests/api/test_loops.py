"""Aliases that lead to aliases: loops, 100 levels, 1000 addresses, found in the transaction."""

from __future__ import annotations

import asyncio

import pytest
from restapi import Api, alias, domain, mailbox


@pytest.fixture
async def room(api: Api) -> Api:
    """Two domains with room for thousands, and one mailbox."""
    for name in ("example.com", "example.org"):
        await api.made("/domains", domain(name, aliases=10_000))
    await api.made("/mailboxes", mailbox("end@example.com"))
    return api


async def several(api: Api, aliases: dict[str, object]) -> None:
    """Add the aliases in batches."""
    items = [
        {"method": "POST", "path": "/aliases", "body": {"address": address, "goto": goto}}
        for address, goto in aliases.items()
    ]
    for begin in range(0, len(items), 1000):
        answer = await api.post("/batch", items[begin : begin + 1000])
        assert answer.status == 200, answer.text


@pytest.mark.parametrize(
    "goto",
    [
        "a@example.com",
        "A+tag@Example.com",
        "b@example.com",
        "c@example.org",
        "c+x@example.org",
        "out@example.net,b@example.com",
    ],
)
async def test_loops(room: Api, goto: str) -> None:
    """No alias leads back to itself: not at once, not by others, not by its +tag."""
    await several(
        room,
        {
            "a@example.com": "end@example.com",
            "b@example.com": "a@example.com",
            "c@example.org": "b@example.com",
        },
    )
    before = room.everything()
    (await room.put("/aliases/1", {"goto": goto})).fault(400, "alias_loop", "goto")
    assert room.everything() == before


async def test_a_new_alias_is_not_its_own_target(room: Api) -> None:
    """Neither by name nor with a +tag."""
    for goto in ("new@example.com", "NEW+x@example.com"):
        answer = await room.post("/aliases", alias("new@example.com", goto))
        assert answer.json["code"] in ("alias_loop", "target_not_found")
        assert answer.status == 400


async def test_a_loop_through_a_catch_all(room: Api) -> None:
    """A +tag address that only the catch-all takes is still no way in a circle."""
    await several(room, {"a@example.com": "end@example.com"})
    await room.made("/aliases", alias("@example.com", "a@example.com"))
    answer = await room.put("/aliases/1", {"goto": "gone@example.com"})
    assert answer.status == 400
    await room.made("/aliases", alias("b@example.org", "end@example.com"))
    await room.delete("/mailboxes/end@example.com")
    assert (await room.get("/aliases")).json == []


async def test_an_alias_that_is_off_counts(room: Api) -> None:
    """It may be switched on, when nobody looks for loops."""
    await several(room, {"a@example.com": "end@example.com", "b@example.com": "a@example.com"})
    await room.changed("/aliases/2", {"active": False})
    (await room.put("/aliases/1", {"goto": "b@example.com"})).fault(400, "alias_loop", "goto")


async def test_a_loop_inside_one_batch(room: Api) -> None:
    """Later changes of a batch see earlier ones."""
    items = [
        {"method": "POST", "path": "/aliases", "body": alias("a@example.com", "end@example.com")},
        {"method": "POST", "path": "/aliases", "body": alias("b@example.com", "a@example.com")},
        {"method": "PUT", "path": "/aliases/1", "body": {"goto": "b@example.com"}},
    ]
    answer = await room.post("/batch", items)
    assert answer.status == 400
    assert [item["status"] for item in answer.json] == [424, 424, 400]
    assert answer.json[2]["code"] == "alias_loop"


async def test_a_loop_of_two_at_once(room: Api) -> None:
    """Two changes that are harmless alone: the second sees the first, whoever comes first."""
    await several(room, {"a@example.com": "end@example.com", "b@example.com": "end@example.com"})
    answers = await asyncio.gather(
        room.put("/aliases/1", {"goto": "b@example.com"}),
        room.put("/aliases/2", {"goto": "a@example.com"}),
    )
    assert sorted(answer.status for answer in answers) == [200, 400]


async def test_100_levels(room: Api) -> None:
    """A chain of 100 aliases is taken; one more is not, at its head or in its middle."""
    chain = {f"n{n}@example.com": f"n{n - 1}@example.com" for n in range(1, 100)}
    await several(room, {"n0@example.com": "end@example.com", **chain})
    answer = await room.post("/aliases", alias("n100@example.com", "n99@example.com"))
    assert "100 levels" in answer.fault(400, "alias_loop", "goto")
    await several(room, {"x@example.org": "end@example.com"})
    answer = await room.put("/aliases/1", {"goto": "x@example.org"})
    answer.fault(400, "alias_loop", "goto")


async def test_1000_addresses(room: Api) -> None:
    """An expansion to 1000 addresses is taken; one more is not, wherever it would come in."""
    targets = [f"t{number}@example.net" for number in range(500)]
    await several(room, {"a@example.com": targets, "b@example.com": ["x" + t for t in targets]})
    await several(room, {"all@example.com": ["a@example.com", "b@example.com"]})
    answer = await room.put("/aliases/3", {"goto": "a@example.com,b@example.com,o@example.net"})
    assert "1000 addresses" in answer.fault(400, "alias_loop", "goto")
    answer = await room.put("/aliases/1", {"goto": [*targets, "one.more@example.net"]})
    answer.fault(400, "alias_loop", "goto")


async def test_many_ways_to_the_same_address(room: Api) -> None:
    """Doubling at each of 60 levels is refused at once, without counting to two to the 60th."""
    await several(room, {"l0@example.com": "end@example.com", "r0@example.com": "end@example.com"})
    refused = None
    for level in range(1, 60):
        goto = [f"l{level - 1}@example.com", f"r{level - 1}@example.com"]
        for side in "lr":
            answer = await room.post("/aliases", alias(f"{side}{level}@example.com", goto))
            if answer.status != 201:
                refused = answer
        if refused:
            break
    assert refused
    refused.fault(400, "alias_loop", "goto")
