"""ETag, If-Match, If-None-Match; HEAD."""

from __future__ import annotations

import pytest
from restapi import Api, domain

OBJECTS = ["/domains/example.com", "/mailboxes/ann@example.com", "/aliases/1", "/keys/1"]
LISTS = ["/domains", "/mailboxes", "/aliases", "/keys", "/changes"]
CHANGED = {
    "/domains/example.com": {"description": "new"},
    "/mailboxes/ann@example.com": {"name": "new"},
    "/aliases/1": {"description": "new"},
}


@pytest.mark.parametrize("path", OBJECTS)
async def test_an_object_has_a_strong_etag(still: Api, path: str) -> None:
    """It stays as long as the object does, and 304 answers who has it."""
    tag = (await still.get(path)).headers["ETag"]
    assert tag.startswith('"')
    for given in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = await still.get(path, If_None_Match=given)
        assert (answer.status, answer.raw, answer.headers["ETag"]) == (304, b"", tag)
    assert (await still.get(path, If_None_Match='"x"')).status == 200


@pytest.mark.parametrize("path", LISTS)
async def test_a_list_has_an_etag(filled: Api, path: str) -> None:
    """It changes with any change, and differs for each filter and each key's domains."""
    tag = (await filled.get(path)).headers["ETag"]
    assert (await filled.get(path, If_None_Match=tag)).status == 304
    if path != "/keys":
        other = await filled.get(f"{path}?domain=example.com", If_None_Match=tag)
        assert other.status == 200
        if path != "/changes":
            limited = filled.key(domains=["example.org"], scope="read")
            assert (await limited.get(path, If_None_Match=tag)).status == 200
    tag = (await filled.get(path)).headers["ETag"]
    await filled.changed("/aliases/1", {"description": "x"})
    assert (await filled.get(path, If_None_Match=tag)).status == 200


@pytest.mark.parametrize(("path", "body"), CHANGED.items())
async def test_if_match(filled: Api, path: str, body: dict[str, str]) -> None:
    """PUT and DELETE of another version are refused with 412 and change nothing."""
    tag = (await filled.get(path)).headers["ETag"]
    before = filled.everything()
    for given in ('"x"', f"W/{tag}", tag.strip('"'), ""):
        (await filled.put(path, body, If_Match=given)).fault(412, "precondition_failed")
        (await filled.delete(path, If_Match=given)).fault(412, "precondition_failed")
    assert filled.everything() == before
    answer = await filled.put(path, body, If_Match=f'"x", {tag}')
    assert answer.status == 200
    assert answer.headers["ETag"] == (await filled.get(path)).headers["ETag"] != tag
    (await filled.put(path, body, If_Match=tag)).fault(412, "precondition_failed")
    assert (await filled.put(path, body, If_Match="*")).status == 200
    (await filled.delete(path, If_Match=tag)).fault(412, "precondition_failed")
    if path != "/domains/example.com":
        assert (await filled.delete(path, If_Match=answer.headers["ETag"])).status == 200


async def test_a_new_object_comes_with_its_etag(api: Api) -> None:
    """What POST answers can be used for the next PUT."""
    answer = await api.post("/domains", domain())
    again = await api.put(
        "/domains/example.com", {"active": False}, If_Match=answer.headers["ETag"]
    )
    assert again.status == 200


async def test_a_domains_etag_follows_what_it_holds(filled: Api) -> None:
    """The numbers in use are part of what was read."""
    tag = (await filled.get("/domains/example.com")).headers["ETag"]
    await filled.delete("/mailboxes/bob@example.com")
    (await filled.delete("/domains/example.com", If_Match=tag)).fault(412, "precondition_failed")


async def test_if_match_of_nothing(still: Api) -> None:
    """Without an object there is none to compare with: 404."""
    (await still.put("/aliases/9", {}, If_Match='"x"')).fault(404, "not_found")


@pytest.mark.parametrize("path", [*OBJECTS, *LISTS, "/status", "/healthz", "/readyz", "/nothing"])
async def test_head(still: Api, path: str) -> None:
    """HEAD answers as GET, without a body."""
    head, get = await still.head(path), await still.get(path)
    assert (head.status, head.raw) == (get.status, b"")
    for name in ("ETag", "Content-Type", "X-Total-Count", "Content-Length"):
        assert head.headers.get(name) == get.headers.get(name), name
