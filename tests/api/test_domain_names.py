"""Names of domains: which are taken, in which forms they are found."""

from __future__ import annotations

from typing import Any

import pytest
from restapi import Api, domain

A_LABEL, U_LABEL = "xn--bcher-kva.example", "bücher.example"
QUOTED = "b%C3%BCcher.example"


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("EXAMPLE.Com", "example.com"),
        (U_LABEL, A_LABEL),
        (A_LABEL.upper(), A_LABEL),
        ("a.b", "a.b"),
        (f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}", None),
        ("3com.example", "3com.example"),
        ("straße.example", "xn--strae-oqa.example"),
    ],
)
async def test_names_taken(api: Api, name: str, stored: str | None) -> None:
    """Names are stored as lower-case A-labels, up to 253 octets."""
    assert (await api.made("/domains", domain(name)))["id"] == (stored or name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "example",
        "example.com.",
        ".example.com",
        "a..b",
        "-a.com",
        "a-.com",
        "a_b.com",
        "a b.com",
        "1.2.3.4",
        "example.123",
        "[1.2.3.4]",
        "localhost",
        "localhost.localdomain",
        "localhost6.example.com",
        "a@example.com",
        "*.example.com",
        "example.com\n",
        "example.com\0",
        "exa\u200bmple.com",
        "xn--a.example",
        "xn--BCHER-kvb.example",
        "a" * 64 + ".com",
        f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 62}",
        "e" * 100_000,
    ],
)
async def test_names_refused(still: Api, name: str) -> None:
    """What is no domain of two labels is refused and not repeated."""
    answer = await still.post("/domains", domain(name))
    answer.fault(400, "invalid", "domain")
    assert len(name) < 8 or name not in answer.text


@pytest.mark.parametrize("name", ["mail.example.org", "MAIL.Example.ORG"])
async def test_the_hosts_own_name_is_no_domain(start: Any, name: str) -> None:
    """Its mail belongs to the system's accounts."""
    api = await start(server__hostname="mail.example.org")
    (await api.post("/domains", domain(name))).fault(400, "invalid", "domain")
    await api.made("/domains", domain("example.org"))


async def test_a_domain_exists_once(api: Api) -> None:
    """The same name, in whatever form, is a conflict."""
    await api.made("/domains", domain(U_LABEL))
    for name in (U_LABEL, A_LABEL, "BÜCHER.example"):
        (await api.post("/domains", domain(name))).fault(409, "exists")


@pytest.mark.parametrize("path", [A_LABEL, QUOTED, A_LABEL.upper(), "B%c3%9ccher.EXAMPLE"])
async def test_either_form_in_a_path(api: Api, path: str) -> None:
    """A domain is found by A-labels or U-labels, in any case, percent-encoded."""
    await api.made("/domains", domain(U_LABEL))
    assert (await api.get(f"/domains/{path}")).json["domain"] == A_LABEL
    assert (await api.changed(f"/domains/{path}", {"active": False}))["active"] is False
    assert (await api.delete(f"/domains/{path}")).json["id"] == A_LABEL
    assert (await api.get(f"/domains/{path}")).status == 404


async def test_the_name_may_be_repeated_in_any_form(api: Api) -> None:
    """PUT takes the domain's own name, however it is written."""
    await api.made("/domains", domain(U_LABEL))
    await api.changed(f"/domains/{A_LABEL}", {"domain": "BÜCHER.example"})
