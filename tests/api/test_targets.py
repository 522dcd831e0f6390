"""What an alias may lead to: the grammar of `goto`, and targets in domains of ours."""

from __future__ import annotations

from typing import Any

import pytest
from restapi import Api, alias, domain

OUT = "out@example.net"


@pytest.mark.parametrize(
    ("goto", "stored"),
    [
        ("out@example.net", None),
        (["out@example.net", "ann@example.com"], "out@example.net,ann@example.com"),
        (
            "a@example.net, b@example.net\t,c@example.net",
            "a@example.net,b@example.net,c@example.net",
        ),
        ("b@example.net,a@example.net,b@example.net", "b@example.net,a@example.net"),
        ("ANN@Example.com,ann@example.com", "ann@example.com"),
        ("Mixed.Case@EXAMPLE.net", "Mixed.Case@example.net"),
        ("A@example.net,a@example.net", "A@example.net,a@example.net"),
        ("x!#$&'*+-/=?^_`{|}~@example.net", None),
        ("ann+tag@example.com", None),
        ("ANN+Tag@example.com", "ann+tag@example.com"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("info@example.com", None),
    ],
)
async def test_targets_taken(filled: Api, goto: Any, stored: str | None) -> None:
    """One string or an array, in the given order, duplicates dropped; foreign case is kept."""
    data = (await filled.made("/aliases", alias("new@example.com", goto)))["data"]
    assert data["goto"] == (stored or goto)
    data = await filled.changed("/aliases/1", {"goto": "bob@example.com"})
    assert data["goto"] == "bob@example.com"


@pytest.mark.parametrize(
    "goto",
    [
        "",
        [],
        ",",
        OUT + ",",
        "," + OUT,
        f"{OUT},,a@example.net",
        [""],
        [OUT, ""],
        [f"{OUT},a@b.c"],
        "|/bin/sh",
        "|/bin/sh@example.net x",
        "/var/mail/x",
        ":include:/etc/passwd",
        "root",
        "a@b",
        "@example.net",
        "@example.com",
        '"a b"@example.net',
        "a@[127.0.0.1]",
        "a@127.0.0.1",
        "a%b@example.net",
        "<a@example.net>",
        "Ann <a@example.net>",
        "a@example.net\nroot: x",
        "a@example.net b@example.net",
        "a@example.net;b@example.net",
        "ü@example.net",
        "a@b@c.de",
        "a..b@example.net",
        ".a@example.net",
        "x" * 65 + "@example.net",
        "a\0@example.net",
        "\\@b.c",
        f"a@{'x' * 63}.{'y' * 63}.{'z' * 63}.{'w' * 61}",
        "a(comment)@example.net",
    ],
)
async def test_targets_refused(still: Api, goto: Any) -> None:
    """Pipes, files, includes, quoted strings, literals and all that is no full address."""
    for answer in (
        await still.post("/aliases", alias("new@example.com", goto)),
        await still.put("/aliases/1", {"goto": goto}),
    ):
        answer.fault(400, "invalid", "goto")
        assert "passwd" not in answer.text


@pytest.mark.parametrize("goto", [None, 1, True, {}, [1], [None], [[OUT]], {"a": OUT}])
async def test_targets_of_another_type(still: Api, goto: Any) -> None:
    """Only a string or an array of strings."""
    (await still.post("/aliases", alias("new@example.com", goto))).fault(400, "invalid", "goto")


async def test_a_bad_target_is_told_by_its_place(still: Api) -> None:
    """With many targets the number leads to the mistake."""
    answer = await still.post("/aliases", alias("new@example.com", [OUT, "a@b.c", "bad"]))
    assert "number 3" in answer.fault(400, "invalid", "goto")
    answer = await still.post("/aliases", alias("new@example.com", f"{OUT},gone@example.com"))
    assert "number 2" in answer.fault(400, "target_not_found", "goto")


async def test_a_thousand_targets(filled: Api) -> None:
    """1000 are taken, 1001 are not; what is named twice counts once."""
    many = [f"t{number}@example.net" for number in range(1001)]
    answer = await filled.post("/aliases", alias("a@example.com", many))
    answer.fault(400, "invalid", "goto")
    answer = await filled.post("/aliases", alias("a@example.com", many[:1000] + many[:1000]))
    assert answer.status == 201
    assert answer.json["data"]["goto"] == ",".join(many[:1000])


@pytest.mark.parametrize("goto", ["gone@example.com", "gone+x@example.com", "info+x+y@example.com"])
async def test_local_targets_must_exist(filled: Api, goto: str) -> None:
    """A target in a domain of ours is a mailbox or alias, its +tag taken off."""
    answer = await filled.post("/aliases", alias("new@example.com", goto))
    assert answer.status == (201 if goto.startswith("info") else 400)
    if answer.status == 400:
        answer.fault(400, "target_not_found", "goto")


async def test_a_catch_all_makes_no_target_exist(filled: Api) -> None:
    """What only the catch-all would take is no target: it might be a mistyped name."""
    await filled.made("/aliases", alias("@example.com", "ann@example.com"))
    answer = await filled.post("/aliases", alias("new@example.com", "gone@example.com"))
    answer.fault(400, "target_not_found", "goto")


async def test_a_target_in_a_domain_that_came_later(api: Api) -> None:
    """Targets of a domain that is added afterwards stay, and must exist at the next change."""
    await api.made("/domains", domain())
    number = (await api.made("/aliases", alias("a@example.com", "x@example.org")))["id"]
    await api.made("/domains", domain("example.org"))
    await api.changed(f"/aliases/{number}", {"description": "still there"})
    answer = await api.put(f"/aliases/{number}", {"goto": "x@example.org,y@example.org"})
    answer.fault(400, "target_not_found", "goto")
