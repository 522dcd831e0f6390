"""API keys: made, shown once, listed without the key, removed."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from restapi import Api, canaries

from mailapi import keys

FULL = {
    "name": "backup 🙂",
    "scope": "write",
    "domains": ["example.com", "BÜCHER.example", "example.com"],
    "allow_from": ["10.0.0.1", "192.0.2.77/24", "2001:db8::/32"],
    "expires": "2030-01-31T01:00:00+01:00",
}


async def test_a_new_key(api: Api) -> None:
    """201 with the key, this once; the object with its fields in normal form; then it works."""
    answer = await api.post("/keys", FULL)
    assert (answer.status, answer.json["msg"]) == (201, "API key has been added")
    number = answer.json["id"]
    assert answer.headers["Location"] == f"/api/v1/keys/{number}"
    assert keys.well_formed(answer.json["key"])
    shown = (await api.get(answer.headers["Location"])).json
    assert shown == answer.json["data"]
    assert shown.pop("created").endswith("Z")
    assert shown == {
        "id": number,
        "name": FULL["name"],
        "scope": "write",
        "domains": ["example.com", "xn--bcher-kva.example"],
        "allow_from": ["10.0.0.1/32", "192.0.2.0/24", "2001:db8::/32"],
        "expires": "2030-01-31T00:00:00Z",
    }


async def test_defaults(api: Api) -> None:
    """Without limits a key covers all domains, from anywhere, for ever."""
    made = await api.made("/keys", {"name": "x", "scope": "admin"})
    found = made["data"]
    assert (found["domains"], found["allow_from"], found["expires"]) == ([], [], None)
    assert (await api.using(made["key"]).get("/keys")).status == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("name", "a\nb"),
        ("name", None),
        ("scope", "root"),
        ("scope", "ADMIN"),
        ("scope", None),
        ("domains", "example.com"),
        ("domains", ["example"]),
        ("domains", [1]),
        ("domains", None),
        ("domains", ["a.b"] * 1001),
        ("allow_from", ["10.0.0.0/33"]),
        ("allow_from", ["localhost"]),
        ("allow_from", [""]),
        ("allow_from", [2130706433]),
        ("allow_from", "10.0.0.1"),
        ("expires", "2030-01-31T00:00:00"),
        ("expires", "tomorrow"),
        ("expires", ""),
        ("expires", 1900000000),
        ("expires", "0001-01-01T00:00:00+23:59"),
        ("key", "mapi_"),
        ("id", 1),
        ("digest", ""),
    ],
)
async def test_fields_refused(still: Api, field: str, value: Any) -> None:
    """Each field has its type and form."""
    answer = await still.post("/keys", {"name": "x", "scope": "write"} | {field: value})
    assert answer.status == 400
    assert answer.json["errors"][0]["field"].split(".")[0] == field


async def test_an_admin_is_not_limited_to_domains(still: Api) -> None:
    """Who may make keys could make himself an unlimited one."""
    body = {"name": "x", "scope": "admin", "domains": ["example.com"]}
    (await still.post("/keys", body)).fault(400, "invalid", "domains")


async def test_only_the_digest_is_stored(api: Api) -> None:
    """The key is in no list, no change, no file and no row."""
    key = (await api.made("/keys", FULL))["key"]
    for path in ("/keys", "/keys/2", "/changes"):
        answer = await api.get(path)
        assert key not in answer.text
        assert "digest" not in answer.text
    api.rows("SELECT 1")
    assert canaries(api.config.state.directory, key, key[5:40]) == []
    assert api.rows("SELECT count(*) FROM api_key WHERE digest = ?", keys.digest(key)) == [(1,)]


async def test_delete(api: Api) -> None:
    """200 with the message; then it is not there."""
    number = (await api.made("/keys", FULL))["id"]
    answer = await api.delete(f"/keys/{number}")
    assert (answer.status, answer.json["msg"], answer.json["id"]) == (
        200,
        "API key has been removed",
        number,
    )
    for again in (await api.delete(f"/keys/{number}"), await api.get(f"/keys/{number}")):
        again.fault(404, "not_found")


async def test_keys_have_no_put(still: Api) -> None:
    """A key's limits are fixed; another key takes its place."""
    answer = await still.put("/keys/1", {"name": "x"})
    answer.fault(405, "method_not_allowed")
    assert answer.headers["Allow"] == "DELETE, GET, HEAD"


async def test_keys_leave_the_generation_alone(api: Api) -> None:
    """They concern no mail server; the answer says the generation that is live."""
    made = await api.made("/keys", FULL)
    assert (made["generation"], made["applied"], api.generation()) == (0, True, 0)


async def test_keys_in_a_batch(still: Api) -> None:
    """A batch holds no keys: they would be shown in an answer that is kept."""
    answer = await still.post("/batch", [{"method": "POST", "path": "/keys", "body": FULL}])
    assert answer.status == 404


async def test_a_list_of_keys(api: Api) -> None:
    """Lists page and filter like those of other objects."""
    for number in range(3):
        await api.made("/keys", {"name": f"key {number}", "scope": "read"})
    assert [key["name"] for key in (await api.get("/keys?q=KEY&limit=2&after=2")).json] == [
        "key 1",
        "key 2",
    ]
    assert (await api.get("/keys?active=true")).status == 400


def test_the_database_itself_knows_three_scopes() -> None:
    """A scope that the code forgets to check cannot be stored."""
    from mailapi import schema

    db = sqlite3.connect(":memory:")
    for step in sorted(schema.MIGRATIONS.glob("*.sql")):
        db.executescript(step.read_text())
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO api_key VALUES (1, 'x', 'root', '[]', '[]', NULL, x'00', '')")
    db.close()


async def test_if_match(api):
    """DELETE honours If-Match for keys, too."""
    key = (await api.post("/keys", {"name": "x", "scope": "read"})).json["id"]
    answer = await api.delete(f"/keys/{key}", if_match='"another"')
    assert answer.fault(412, "precondition_failed")
    tag = (await api.get(f"/keys/{key}")).headers["ETag"]
    assert (await api.delete(f"/keys/{key}", if_match=tag)).status == 200
