"""Mailboxes: the fields, the domain's limits, and what removing one takes with it."""

from __future__ import annotations

from typing import Any

import pytest
from restapi import DOMAIN, MAILBOX, Api, alias, domain, mailbox

OPTIONAL = {"force_pw_update": False, "tls_enforce_in": False, "tls_enforce_out": False}


async def test_the_example(api: Api) -> None:
    """The documented body answers 201 with the documented message, and never the password."""
    await api.made("/domains", DOMAIN)
    answer = await api.post("/mailboxes", MAILBOX)
    assert (answer.status, answer.json["msg"]) == (201, "Mailbox has been added")
    assert (answer.json["id"], answer.json["applied"]) == ("user@example.com", True)
    assert answer.headers["Location"] == "/api/v1/mailboxes/user@example.com"
    shown = await api.get("/mailboxes/user@example.com")
    assert shown.json == answer.json["data"]
    data = shown.json
    assert data.pop("created") == data.pop("modified")
    expected = {name: value for name, value in MAILBOX.items() if name != "password"}
    assert data == expected | {"email": "user@example.com", "quota_used": None}
    assert api.file("users").startswith("user@example.com:{BLF-CRYPT}$2b$04$")


async def test_what_may_be_missing(api: Api) -> None:
    """Three switches have a default; each other field is asked for by name."""
    await api.made("/domains", DOMAIN)
    body = {name: value for name, value in MAILBOX.items() if name not in OPTIONAL}
    for name in body:
        short = {key: value for key, value in body.items() if key != name}
        (await api.post("/mailboxes", short)).fault(400, "invalid", name)
    data = (await api.made("/mailboxes", body))["data"]
    assert {name: data[name] for name in OPTIONAL} == OPTIONAL


async def test_a_password_must_not_be_null(api: Api) -> None:
    """null is no password and no hash."""
    await api.made("/domains", DOMAIN)
    for field in ("password", "password_hash"):
        assert (await api.post("/mailboxes", MAILBOX | {field: None})).status in (400, 201)
        assert (await api.post("/mailboxes", MAILBOX | {"password": None})).status == 400
        assert (await api.put("/mailboxes/user@example.com", {field: None})).status in (400, 404)


@pytest.mark.parametrize("name", ["", "x" * 255, "Ann  O'Neil 🙂", '"a" <b@c>', "ü" * 255])
async def test_names_are_kept(api: Api, name: str) -> None:
    """Display names come back as they were."""
    await api.made("/domains", domain())
    await api.made("/mailboxes", mailbox("a@example.com", name=name))
    assert (await api.get("/mailboxes/a@example.com")).json["name"] == name


@pytest.mark.parametrize("name", ["x" * 256, "a\nb", "a\tb", "\0", "\x7f", "\x9b"])
async def test_names_refused(still: Api, name: str) -> None:
    """More than 255 characters and control characters are refused, in POST and in PUT."""
    answer = await still.post("/mailboxes", mailbox("c@example.com", name=name))
    answer.fault(400, "invalid", "name")
    (await still.put("/mailboxes/ann@example.com", {"name": name})).fault(400, "invalid", "name")


async def test_as_many_mailboxes_as_the_domain_may_have(api: Api) -> None:
    """The one too many is refused, and the message says the limit."""
    await api.made("/domains", domain(mailboxes=2))
    await api.made("/mailboxes", mailbox("a@example.com"))
    await api.made("/mailboxes", mailbox("b@example.com"))
    answer = await api.post("/mailboxes", mailbox("c@example.com"))
    assert "2 mailboxes" in answer.fault(400, "limit_exceeded")
    await api.delete("/mailboxes/a@example.com")
    await api.made("/mailboxes", mailbox("c@example.com"))


@pytest.mark.parametrize("quota", [-1, 11, 2**62])
async def test_a_quota_is_within_maxquota(api: Api, quota: int) -> None:
    """0 to maxquota, for POST and PUT."""
    await api.made("/domains", domain(defquota=1, maxquota=10, quota=100))
    answer = await api.post("/mailboxes", mailbox("a@example.com", quota=quota))
    assert answer.status == 400
    assert answer.json["errors"][0]["field"] == "quota"
    assert quota != 11 or "10" in answer.json["msg"]
    await api.made("/mailboxes", mailbox("a@example.com", quota=10))
    assert (await api.put("/mailboxes/a@example.com", {"quota": quota})).status == 400


async def test_the_sum_of_quotas_is_within_the_domains(api: Api) -> None:
    """The message says what is left; a mailbox's own quota counts as free when it changes."""
    await api.made("/domains", domain(defquota=1, maxquota=10, quota=15))
    await api.made("/mailboxes", mailbox("a@example.com", quota=10))
    answer = await api.post("/mailboxes", mailbox("b@example.com", quota=6))
    assert "at most 5" in answer.fault(400, "limit_exceeded", "quota")
    await api.made("/mailboxes", mailbox("b@example.com", quota=5))
    answer = await api.put("/mailboxes/b@example.com", {"quota": 6})
    assert "at most 5" in answer.fault(400, "limit_exceeded", "quota")
    await api.changed("/mailboxes/a@example.com", {"quota": 9})
    await api.changed("/mailboxes/b@example.com", {"quota": 6})


async def test_no_quota_is_for_unrestricted_keys(filled: Api) -> None:
    """0 means unlimited, which a key limited to domains may not give."""
    limited = filled.key(domains=["example.com"])
    answer = await limited.post("/mailboxes", mailbox("c@example.com", quota=0, password="x" * 8))
    answer.fault(403, "forbidden")
    (await limited.put("/mailboxes/ann@example.com", {"quota": 0})).fault(403, "forbidden")
    assert (await filled.changed("/mailboxes/ann@example.com", {"quota": 0}))["quota"] == 0
    await limited.changed("/mailboxes/ann@example.com", {"quota": 0, "name": "Ann"})  # as it was


async def test_put_changes_what_is_given(filled: Api) -> None:
    """Fields that are not given stay, the password among them."""
    before, users = (await filled.get("/mailboxes/ann@example.com")).json, filled.file("users")
    answer = await filled.put("/mailboxes/ANN%40example.com", {"name": "Ann", "active": True})
    assert (answer.json["msg"], answer.json["id"]) == (
        "Mailbox has been updated",
        "ann@example.com",
    )
    assert answer.json["data"] == (await filled.get("/mailboxes/ann@example.com")).json
    assert answer.json["data"] | {"modified": ""} == before | {"name": "Ann", "modified": ""}
    assert filled.file("users") == users


async def test_what_was_read_can_be_put(filled: Api) -> None:
    """The read shape is the write shape, and putting it back changes nothing."""
    before = filled.everything()
    shown = (await filled.get("/mailboxes/ann@example.com")).json
    assert await filled.changed("/mailboxes/ann@example.com", shown) == shown
    assert filled.everything() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "bob@example.com"),
        ("local_part", "bob"),
        ("domain", "example.org"),
        ("quota_used", 0),
        ("quota_used", ""),
        ("created", None),
        ("modified", "2000-01-01T00:00:00Z"),
    ],
)
async def test_read_only_fields(still: Api, field: str, value: Any) -> None:
    """PUT moves no mailbox, and refuses what it cannot change."""
    (await still.put("/mailboxes/ann@example.com", {field: value})).fault(400, "invalid", field)


async def test_switches(filled: Api) -> None:
    """Each of the four switches is kept, and leaves its trace in the files."""
    await filled.changed("/mailboxes/ann@example.com", {"tls_enforce_in": True})
    assert "ann@example.com reject_plaintext_session" in filled.file("recipient_access")
    await filled.changed("/mailboxes/ann@example.com", {"tls_enforce_out": True})
    assert "ann@example.com " in filled.file("sender_dependent_default_transport_maps")
    await filled.changed("/mailboxes/ann@example.com", {"force_pw_update": True})
    assert "ann@example.com:{BLF-CRYPT}$2b$04$..............." in filled.file("users")
    assert "ann@example.com" in filled.file("virtual_mailbox_maps")
    shown = await filled.changed("/mailboxes/ann@example.com", {"active": False})
    assert "ann@example.com" not in filled.file("virtual_mailbox_maps")
    assert "ann@example.com" not in filled.file("users")
    switches = ("active", "force_pw_update", "tls_enforce_in", "tls_enforce_out")
    assert [shown[name] for name in switches] == [False, True, True, True]


async def test_delete(filled: Api) -> None:
    """The answer says where the mail stays, and has no data."""
    answer = await filled.delete("/mailboxes/Ann@Example.com")
    assert (answer.status, answer.json["msg"]) == (200, "Mailbox has been removed")
    assert answer.json["id"] == "ann@example.com"
    assert "/var/vmail/example.com/ann" in answer.json["detail"]
    assert "data" not in answer.json
    (await filled.get("/mailboxes/ann@example.com")).fault(404, "not_found")
    (await filled.delete("/mailboxes/ann@example.com")).fault(404, "not_found")
    (await filled.put("/mailboxes/ann@example.com", {"name": ""})).fault(404, "not_found")


async def test_delete_takes_it_out_of_aliases(filled: Api) -> None:
    """Aliases lose the target, with or without a +tag; one that has no other goes, and so on."""
    await filled.made("/domains", domain("example.org"))
    for address, goto in {
        "two@example.com": "ann@example.com,bob@example.com",
        "tag@example.org": "ann+a@example.com,x@example.net,ann+b@example.com",
        "chain@example.org": "info@example.com",
        "end@example.org": "chain@example.org,chain+x@example.org",
        "stays@example.org": "info@example.com,bob@example.com",
    }.items():
        await filled.made("/aliases", alias(address, goto))
    generation = filled.generation()
    assert (await filled.delete("/mailboxes/ann@example.com")).json["generation"] == generation + 1
    left = {item["address"]: item["goto"] for item in (await filled.get("/aliases")).json}
    assert left == {
        "two@example.com": "bob@example.com",
        "tag@example.org": "x@example.net",
        "stays@example.org": "bob@example.com",
    }
    assert "ann" not in filled.file("virtual_alias_maps")


async def test_a_mailbox_can_come_back(filled: Api) -> None:
    """A removed address is free again."""
    await filled.delete("/mailboxes/ann@example.com")
    await filled.made("/mailboxes", mailbox("ann@example.com"))
