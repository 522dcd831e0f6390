"""Who is let in: keys, scopes, domains, networks, expiry; everything else stays outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from restapi import BASE, Api, alias, domain, mailbox

from mailapi.api import auth
from mailapi.api.middleware import METHODS

OPEN = {"/api/v1/healthz", "/api/v1/readyz", "/api/v1/openapi.json", "/api/v1/docs", "/metrics"}
# Well-formed, and no key of any service.
NEVER = "mapi_00000000000000000000000000000000000000000004D41at"


def routes(api: Api) -> Iterator[tuple[str, str]]:
    """Each registered method and path, with something in place of its parameters."""
    for route in api.app.router.routes():
        path = re.sub(r"\{[^}]*\}", "1", route.resource.canonical)
        yield from ((method, path) for method in METHODS if route.method in (method, "*"))


def is_open(path: str) -> bool:
    return path.startswith(("/api/v1/docs", "/password", "/.well-known/")) or path in OPEN


async def test_every_route_is_closed_without_a_key(still: Api) -> None:
    """Each route and method that is registered answers 401, but those named open."""
    stranger, found = still.using(None), set()
    for method, path in routes(still):
        answer = await stranger.send(method, path)
        if is_open(path):
            assert answer.status != 401, path
            continue
        found.add((method, path))
        assert answer.status == 401, (method, path)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        if method != "HEAD":
            answer.fault(401, "unauthorized")
    assert len(found) > 25
    assert ("DELETE", f"{BASE}/keys/1") in found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "path", ["/nothing", "", "/", "/domains/", "/domains/a/b", "/healthz/x", "/../status", "//x"]
)
async def test_what_is_no_route_is_closed_too(still: Api, method: str, path: str) -> None:
    """Without a key nobody learns which routes there are, nor which methods they take."""
    assert (await still.using(None).send(method, path)).status == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
async def test_open_pages_need_no_key(still: Api, path: str) -> None:
    """They answer without a key, and with one that is wrong."""
    assert (await still.using(None).get(path)).status == 200
    assert (await still.using(NEVER).get(path)).status == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic {key}",
        "Token {key}",
        "{key}",
        "Bearer{key}",
        "Bearer {key}x",
        "Bearer {key},{key}",
        "Bearer {key} {key}",
        'Bearer "{key}"',
        "Bearer token={key}",
        "Bearer mapi_",
        "Bearer " + NEVER,
        "Bearer ключ",
        "Bearer \u00fc" * 100,
        "Bearer " + "x" * 5000,
        "Bearer ' OR 1=1 --",
    ],
)
async def test_what_is_no_key(still: Api, authorization: str) -> None:
    """Whatever is not `Bearer` and a known key is refused, and not repeated."""
    text = authorization.format(key=still.secret)
    answer = await still.using(None).get("/domains", Authorization=text)
    answer.fault(401, "unauthorized")
    assert still.secret not in answer.text
    assert NEVER not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer "])
async def test_the_schemes_case_does_not_matter(still: Api, scheme: str) -> None:
    """RFC 9110: the name of a scheme is compared without regard to case."""
    answer = await still.using(None).get("/status", Authorization=f"{scheme} {still.secret}")
    assert answer.status == 200


async def test_a_key_elsewhere_is_none(still: Api) -> None:
    """Not in the query, not in a cookie, not in other headers."""
    stranger, key = still.using(None), still.secret
    assert (await stranger.get(f"/status?key={key}")).status == 401
    assert (await stranger.get("/status", Cookie=f"Authorization=Bearer {key}")).status == 401
    assert (await stranger.get("/status", X_Api_Key=key)).status == 401


async def test_two_authorizations(still: Api) -> None:
    """Of two headers one would have to be guessed; a wrong one does not let the right one in."""
    request = (
        f"GET {BASE}/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {NEVER}\r\nAuthorization: Bearer {still.secret}\r\n\r\n"
    )
    assert (await still.raw(request.encode())).split()[1] in (b"401", b"400")


# ---------- scope ----------

CHANGES: list[tuple[str, str, Any]] = [
    ("POST", "/domains", domain("example.org")),
    ("PUT", "/domains/example.com", {"active": True}),
    ("DELETE", "/domains/example.com", None),
    ("POST", "/mailboxes", mailbox("new@example.com", password="long enough")),
    ("PUT", "/mailboxes/ann@example.com", {"name": "x"}),
    ("DELETE", "/mailboxes/ann@example.com", None),
    ("POST", "/aliases", alias("new@example.com", "ann@example.com")),
    ("PUT", "/aliases/1", {"active": False}),
    ("DELETE", "/aliases/1", None),
    ("POST", "/apply", {}),
    ("POST", "/batch", [{"method": "DELETE", "path": "/aliases/1"}]),
]
READS = ["/domains", "/domains/example.com", "/mailboxes", "/mailboxes/ann@example.com"]
READS += ["/aliases", "/aliases/1", "/changes", "/status"]
KEYS: list[tuple[str, str, Any]] = [
    ("GET", "/keys", None),
    ("GET", "/keys/1", None),
    ("POST", "/keys", {"name": "x", "scope": "read"}),
    ("DELETE", "/keys/1", None),
]


@pytest.fixture(scope="module")
def scoped(shared: Api) -> dict[str, Api]:
    """Keys of each kind for the module's service."""
    return {
        "read": shared.key(scope="read"),
        "write": shared.key(scope="write"),
        "other": shared.key(scope="write", domains=["example.org"]),
        "own": shared.key(scope="write", domains=["example.com"]),
        "own-read": shared.key(scope="read", domains=["example.com"]),
    }


async def send(api: Api, method: str, path: str, body: Any) -> Any:
    return await (api.send(method, path) if body is None else api.send(method, path, body))


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_scope_read_changes_nothing(
    scoped: dict[str, Api], still: Api, method: str, path: str, body: Any
) -> None:
    """A reading key is refused each change, alone or in a batch."""
    for name in ("read", "own-read"):
        answer = await send(scoped[name], method, path, body)
        assert answer.status == 403, answer.text
        found = answer.json[0] if path == "/batch" else answer.json
        assert found["code"] == "forbidden"


@pytest.mark.parametrize("path", READS)
async def test_scope_read_reads(scoped: dict[str, Api], still: Api, path: str) -> None:
    """A reading key reads all but keys."""
    assert (await scoped["read"].get(path)).status == 200


@pytest.mark.parametrize(("method", "path", "body"), KEYS)
async def test_keys_are_for_admins(
    scoped: dict[str, Api], still: Api, method: str, path: str, body: Any
) -> None:
    """No other scope sees, makes or removes a key."""
    for api in scoped.values():
        (await send(api, method, path, body)).fault(403, "forbidden")


async def test_scope_write_writes(filled: Api) -> None:
    """A writing key may change all but keys."""
    writer = filled.key(scope="write")
    for method, path, body in sorted(CHANGES, key=lambda change: change[0] == "DELETE"):
        answer = await send(writer, method, path, body)
        assert answer.status in (200, 201, 404, 409), answer.text


# ---------- domains ----------


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_keys_of_other_domains(
    scoped: dict[str, Api], still: Api, method: str, path: str, body: Any
) -> None:
    """A key limited to other domains is refused each change of this one, and of the domains."""
    answer = await send(scoped["other"], method, path, body)
    assert answer.status == 403, answer.text


async def test_a_key_of_the_domain(filled: Api) -> None:
    """It manages mailboxes and aliases of its domain and reads them, nothing else."""
    own = filled.key(domains=["Example.COM"])
    await filled.made("/domains", domain("example.org"))
    await filled.made("/mailboxes", mailbox("zoe@example.org"))
    await filled.made("/aliases", alias("far@example.org", "zoe@example.org"))
    await own.made("/mailboxes", mailbox("new@example.com", password="long enough"))
    await own.changed("/mailboxes/new@example.com", {"active": False})
    number = (await own.made("/aliases", alias("a@example.com", "out@example.net")))["id"]
    await own.changed(f"/aliases/{number}", {"description": "x"})
    for path in ("/mailboxes", "/aliases", "/domains"):
        answer = await own.get(path)
        assert {item["domain"] for item in answer.json} == {"example.com"}
        assert answer.headers["X-Total-Count"] == str(len(answer.json))
    for path in ("/domains/example.com", "/mailboxes/ann@example.com", "/aliases/1", "/status"):
        assert (await own.get(path)).status == 200
    for path in ("/domains/example.org", "/mailboxes/zoe@example.org", "/aliases/2", "/changes"):
        (await own.get(path)).fault(403, "forbidden")
    assert (await own.get("/mailboxes?domain=example.org")).json == []
    assert (await own.get("/mailboxes?q=zoe")).json == []
    answer = await own.put(f"/aliases/{number}", {"address": "a@example.org"})
    answer.fault(403, "forbidden")
    for method, path, body in (
        ("POST", "/domains", domain("new.example")),
        ("PUT", "/domains/example.com", {"quota": 10**9}),
        ("DELETE", "/domains/example.com", None),
        ("POST", "/apply", {}),
    ):
        (await send(own, method, path, body)).fault(403, "forbidden")


async def test_whether_it_exists_is_told_to_who_may_read(
    scoped: dict[str, Api], still: Api
) -> None:
    """A limited key gets the same answer for mailboxes of other domains, there or not."""
    there = await scoped["other"].get("/mailboxes/ann@example.com")
    absent = await scoped["other"].get("/mailboxes/gone@example.com")
    assert (
        (there.status, there.json["msg"])
        == (absent.status, absent.json["msg"])
        == (
            403,
            "This API key is limited to other domains.",
        )
    )


# ---------- networks and time ----------


@pytest.mark.parametrize(
    ("allow_from", "status"),
    [
        (["127.0.0.1"], 200),
        (["10.0.0.0/8", "127.0.0.0/8"], 200),
        (["0.0.0.0/0"], 200),
        (["10.0.0.0/8"], 403),
        (["::1"], 403),
        (["127.0.0.2"], 403),
    ],
)
async def test_allow_from(shared: Api, allow_from: list[str], status: int) -> None:
    """403 from elsewhere than the key's networks."""
    assert (await shared.key(allow_from=allow_from).get("/status")).status == status


@pytest.mark.parametrize(
    ("proxies", "forwarded", "status"),
    [
        ("[]", "10.1.2.3", 403),
        ('["127.0.0.1"]', "10.1.2.3", 200),
        ('["127.0.0.1"]', "8.8.8.8, 10.1.2.3", 200),
        ('["127.0.0.1"]', "10.1.2.3, 8.8.8.8", 403),
        ('["127.0.0.1"]', "nonsense", 403),
        ('["192.0.2.1"]', "10.1.2.3", 403),
    ],
)
async def test_forwarded_addresses_count_from_trusted_proxies(
    start: Any, proxies: str, forwarded: str, status: int
) -> None:
    """X-Forwarded-For is believed of configured proxies only, and from its right end."""
    api = await start(server__trusted_proxies=proxies)
    limited = api.key(allow_from=["10.0.0.0/8"])
    assert (await limited.get("/status", X_Forwarded_For=forwarded)).status == status


async def test_expiry(shared: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key works until its time, and not from then on, though it was just seen to work."""
    soon = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    key = shared.key(expires=soon)
    assert (await key.get("/status")).status == 200
    monkeypatch.setattr(auth, "timestamp", lambda: soon)
    (await key.get("/status")).fault(401, "unauthorized")
    monkeypatch.undo()
    (await shared.key(expires="2020-01-01T00:00:00+01:00").get("/status")).fault(
        401, "unauthorized"
    )


async def test_a_removed_key_is_refused_at_once(filled: Api) -> None:
    """Also when it was used a moment before."""
    made = await filled.made("/keys", {"name": "x", "scope": "read"})
    key = filled.using(made["key"])
    assert (await key.get("/status")).status == 200
    assert (await filled.delete(f"/keys/{made['id']}")).status == 200
    (await key.get("/status")).fault(401, "unauthorized")
