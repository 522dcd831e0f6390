"""Addresses of mailboxes: which are taken, in which forms they are found."""

from __future__ import annotations

import pytest
from restapi import Api, domain, mailbox


@pytest.mark.parametrize(
    ("local_part", "stored"),
    [
        ("User", "user"),
        ("o'neil", "o'neil"),
        ("a.b_c-d", "a.b_c-d"),
        ("1", "1"),
        ("-a", "-a"),
        ("_'-1", "_'-1"),
        ("x" * 64, "x" * 64),
    ],
)
async def test_local_parts_taken(api: Api, local_part: str, stored: str) -> None:
    """Letters are folded to lower case; the mailbox is found under its address in any case."""
    await api.made("/domains", domain())
    body = mailbox(f"{local_part}@example.com")
    answer = await api.post("/mailboxes", body)
    assert (answer.status, answer.json["id"]) == (201, f"{stored}@example.com")
    assert (await api.get(answer.headers["Location"])).json["local_part"] == stored
    assert (await api.get(f"/mailboxes/{local_part.upper()}%40EXAMPLE.com")).status == 200


@pytest.mark.parametrize(
    "local_part",
    [
        "",
        "a+b",
        ".a",
        "a.",
        "a..b",
        "a b",
        "a@b",
        "a/b",
        "a:b",
        'a"b',
        "a%b",
        "a\nb",
        "a\0b",
        "a|b",
        "ä",
        "\u212a",  # the Kelvin sign, whose lower case is a k
        "_-'",
        "...",
        "x" * 65,
        "../../etc/passwd",
        "${user}",
    ],
)
async def test_local_parts_refused(still: Api, local_part: str) -> None:
    """What Postfix or Dovecot could misread is refused, and not repeated."""
    answer = await still.post("/mailboxes", mailbox("a@example.com") | {"local_part": local_part})
    answer.fault(400, "invalid", "local_part")
    assert len(local_part) < 5 or local_part not in answer.text


async def test_an_address_has_254_octets(api: Api) -> None:
    """Longer ones are refused, though both halves are short enough."""
    name = f"{'a' * 63}.{'b' * 63}.{'c' * 61}.com"
    await api.made("/domains", domain(name))
    longest = "x" * (254 - len(name) - 1)
    assert len(longest) < 64
    await api.made("/mailboxes", mailbox(f"{longest}@{name}"))
    answer = await api.post("/mailboxes", mailbox(f"{longest}y@{name}"))
    answer.fault(400, "invalid", "local_part")


async def test_the_domain_must_exist(api: Api) -> None:
    """404 for a domain that is not there, in its normal form."""
    (await api.post("/mailboxes", mailbox("a@example.com"))).fault(404, "not_found")
    await api.made("/domains", domain("bücher.example"))
    body = mailbox("a@bücher.example")
    assert (await api.made("/mailboxes", body))["id"] == "a@xn--bcher-kva.example"
    assert (await api.get("/mailboxes/A@B%C3%BCCHER.example")).status == 200


async def test_an_address_is_one_thing(still: Api) -> None:
    """409 for the address of a mailbox or of an alias."""
    for email in ("ann@example.com", "ANN@Example.COM", "info@example.com"):
        (await still.post("/mailboxes", mailbox(email))).fault(409, "exists")


async def test_the_address_may_be_repeated_in_any_form(filled: Api) -> None:
    """PUT takes the mailbox's own address, however it is written."""
    same = {"email": "ANN@EXAMPLE.com", "local_part": "Ann", "domain": "Example.Com"}
    await filled.changed("/mailboxes/ann@example.com", same)


@pytest.mark.parametrize(
    "path",
    [
        "ann",
        "@example.com",
        "ann@",
        "ann%2540example.com",  # decoded once, not twice
        "ann@example.com%20",
        "ann@example.com%00",
        "ann%0a@example.com",
        "ann+x@example.com",
        "info@example.com",
        "%FF@example.com",
        "a%2Fb@example.com",
        "ann@@example.com",
        "x" * 5000,
    ],
)
async def test_no_such_mailbox(still: Api, path: str) -> None:
    """Whatever is no mailbox's address in a path is not found, for each method."""
    for method, body in (("GET", None), ("PUT", b"{}"), ("DELETE", None)):
        (await still.send(method, f"/mailboxes/{path}", data=body)).fault(404, "not_found")
