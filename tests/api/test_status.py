"""status, apply, healthz, readyz, metrics; applied:true and what is answered without it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from restapi import Api, alias, domain

from mailapi import __version__, rounds


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    """A program for [reload] that succeeds, until the file `bad` stands beside it."""
    program = tmp_path / "hook"
    program.write_text(f"#!/bin/sh\n[ ! -e {tmp_path}/bad ]\n")
    program.chmod(0o755)
    return program


@pytest.fixture
async def hooked(start: Any, hook: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A service that must reload Postfix for each change, and tries again after 50 ms."""
    monkeypatch.setattr(rounds, "PAUSES", (0.05, 0.1))
    command = json.dumps([str(hook)])
    api: Api = await start(reload__command=command, postfix__map_type="texthash")
    return api


async def test_status(filled: Api) -> None:
    """The generations, and that they are the same."""
    answer = await filled.get("/status")
    assert answer.json == {
        "version": __version__,
        "generation": filled.generation(),
        "applied_generation": filled.generation(),
        "applied": True,
    }
    assert filled.generation() == 4


async def test_each_change_is_one_generation(api: Api) -> None:
    """Answers say the generation that holds the change; what changes nothing makes none."""
    assert (await api.made("/domains", domain()))["generation"] == 1
    answer = await api.put("/domains/example.com", {"active": False})
    assert answer.json["generation"] == 2
    answer = await api.put("/domains/example.com", {"active": False})
    assert (answer.json["generation"], answer.json["applied"]) == (2, True)
    assert (await api.delete("/domains/example.com")).json["generation"] == 3


@pytest.mark.parametrize(
    "query", ["generation=4", "generation=0", "generation=4&wait=30", "wait=0"]
)
async def test_what_is_live_is_told_at_once(still: Api, query: str) -> None:
    """Nothing is waited for that is there."""
    answer = await still.get(f"/status?{query}")
    assert (answer.status, answer.json["applied"]) == (200, True)


async def test_a_generation_to_come(still: Api) -> None:
    """After the time it is told that it is not live."""
    before = asyncio.get_running_loop().time()
    assert (await still.get("/status?generation=99&wait=1")).json["applied"] is False
    assert 0.9 < asyncio.get_running_loop().time() - before < 10
    assert (await still.get("/status?generation=99")).json["applied"] is False


async def test_waiting_for_the_next_generation(filled: Api) -> None:
    """The answer comes when the generation is live, not when the time is over."""
    waiting = asyncio.create_task(filled.get("/status?generation=5&wait=30"))
    await filled.get("/status")
    await filled.delete("/aliases/1")
    async with asyncio.timeout(5):
        answer = await waiting
    assert (answer.json["applied"], answer.json["generation"]) == (True, 5)


@pytest.mark.parametrize(
    "query",
    ["wait=31", "wait=-1", "wait=x", "wait=", "wait=1.5", "generation=-1", "generation=x", "x=1"],
)
async def test_parameters_refused(still: Api, query: str) -> None:
    """wait is 0 to 30, generation a number."""
    assert (await still.get(f"/status?{query}")).status == 400


async def test_respond_async(filled: Api) -> None:
    """Who prefers it hears 202 once the change is durable, and can wait for it to be live."""
    answer = await filled.put("/aliases/1", {"active": False}, Prefer="wait=5, Respond-Async")
    assert (answer.status, answer.json["applied"]) == (202, False)
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert filled.generation() == answer.json["generation"]
    assert (await filled.get("/aliases/1")).json["active"] is False
    found = await filled.get(f"/status?generation={answer.json['generation']}&wait=30")
    assert found.json["applied"] is True
    assert filled.file("virtual_alias_maps") == ""
    answer = await filled.post(
        "/aliases", alias("a@example.com", "o@b.example"), Prefer="respond-async"
    )
    assert (answer.status, answer.headers["Location"]) == (202, "/api/v1/aliases/2")


@pytest.mark.parametrize(
    "prefer", ["", "return=minimal", "respond-asynchronously", "x-respond-async"]
)
async def test_other_preferences(filled: Api, prefer: str) -> None:
    """They are ignored: the answer waits."""
    answer = await filled.put("/aliases/1", {"active": False}, Prefer=prefer)
    assert (answer.status, answer.json["applied"]) == (200, True)
    assert "Preference-Applied" not in answer.headers


async def test_a_hook_that_fails(hooked: Api, tmp_path: Path) -> None:
    """202 with the reason; never lost, never called live; live when the hook works again."""
    answer = await hooked.post("/domains", domain())
    assert (answer.status, answer.json["applied"]) == (201, True)
    bad = tmp_path / "bad"
    bad.touch()
    answer = await hooked.post("/domains", domain("example.org"))
    assert (answer.status, answer.json["type"], answer.json["applied"]) == (202, "success", False)
    assert answer.json["detail"]
    assert str(tmp_path) not in answer.text
    assert (await hooked.get("/domains/example.org")).status == 200
    status = (await hooked.get("/status")).json
    assert (status["applied"], status["applied_generation"], status["generation"]) == (False, 1, 2)
    assert status["problem"]["code"] == "hook_failed"
    assert "problem" not in (await hooked.key(domains=["example.com"]).get("/status")).json
    ready = await hooked.using(None).get("/readyz")
    assert (ready.status, ready.json["applied"]) == (503, False)
    assert (await hooked.get("/healthz")).status == 200
    again = await hooked.put("/domains/example.org", {"active": True})
    assert (again.status, again.json["applied"]) == (202, False)  # changes nothing, but is not live
    bad.unlink()
    found = await hooked.get("/status?generation=2&wait=30")
    assert found.json["applied"] is True
    async with asyncio.timeout(10):
        while (await hooked.get("/readyz")).status != 200:
            await asyncio.sleep(0.01)
    assert "problem" not in (await hooked.get("/status")).json


async def test_apply(filled: Api) -> None:
    """Everything is written again, without a new generation, and the files are mended."""
    before = filled.everything()
    (filled.config.dovecot.directory / "users").unlink()
    (filled.config.postfix.directory / "virtual_alias_maps").write_text("evil@example.com x@y.z\n")
    answer = await filled.post("/apply", {})
    assert (answer.status, answer.json["type"], answer.json["applied"]) == (200, "success", True)
    assert answer.json["generation"] == filled.generation() == 4
    after = filled.everything()
    for name, found in before.items():
        assert (found[1] if name.startswith("/") else found) == (
            after[name][1] if name.startswith("/") else after[name]
        ), name


async def test_apply_without_a_body(filled: Api) -> None:
    """It needs none."""
    assert (await filled.post("/apply")).status == 200


async def test_apply_runs_the_hook(hooked: Api, tmp_path: Path) -> None:
    """What cannot be reloaded is told."""
    assert (await hooked.post("/apply")).json["applied"] is True
    (tmp_path / "bad").touch()
    answer = await hooked.post("/apply")
    assert (answer.status, answer.json["applied"]) == (202, False)
    assert answer.json["detail"]
    answer = await hooked.post("/apply", Prefer="respond-async")
    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "respond-async")


async def test_health(still: Api) -> None:
    """Both answer without a key, and say nothing of what is stored."""
    for path in ("/healthz", "/readyz"):
        answer = await still.using(None).get(path)
        assert answer.status == 200
        assert "example" not in answer.text


@pytest.mark.parametrize(
    ("proxies", "forwarded", "status"),
    [
        ("[]", None, 200),
        ('["127.0.0.1"]', "192.0.2.1", 403),
        ('["127.0.0.1"]', "::1", 200),
        ("[]", "192.0.2.1", 200),
    ],
)
async def test_metrics(start: Any, proxies: str, forwarded: str | None, status: int) -> None:
    """Open on loopback only; a proxy's clients are not there, whatever the proxy's own address."""
    api = (await start(server__trusted_proxies=proxies)).using(None)
    headers = {"X_Forwarded_For": forwarded} if forwarded else {}
    answer = await api.get("/metrics", **headers)
    assert answer.status == status
    if status == 200:
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert "mailapi_generation 0.0" in answer.text


async def test_metrics_name_no_objects(filled: Api) -> None:
    """Labels are routes, methods and statuses; never what clients sent."""
    await filled.get("/mailboxes/ann@example.com?q=canary")
    await filled.send("CANARY", "/canary/canary")
    text = (await filled.get("/metrics")).text
    assert 'route="/api/v1/mailboxes/{key}"' in text
    for word in ("example", "canary", "CANARY", "127.0.0.1"):
        assert word not in text
