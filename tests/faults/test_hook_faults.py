"""The reload hook fails, hangs or is slow; and how often it runs.

The hook here does what the real one is for: Postfix with texthash: maps acts on what it read at its
last reload, so `reload postfix` copies a map to `loaded`. It writes when it begins and ends,
and what Dovecot's file said of the mailbox whose sessions it ends.
"""

from __future__ import annotations

import asyncio
import errno
import http.client
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import restapi
from bed import poll
from mishap import Fault
from process import Service

SCRIPT = """#!/bin/sh
cd {root}
said() {{ echo "$*" >> hook.log; }}
said "begin $*"
if [ "$1" = kick ]; then
    said "line $(grep "^$2:" dovecot/users | cut -d: -f2)"
    [ -e fail-"$2" ] && said "end $*" && exit 1
    [ -e hang-kick ] && sleep 5
fi
if [ "$1 $2" = "reload postfix" ]; then
    [ -e fail ] && said "end $*" && exit 3
    [ -e hang ] && sleep 60
    [ -e slow ] && sleep 0.5
    cp postfix/virtual_mailbox_maps loaded.new && mv loaded.new loaded
fi
said "end $*"
"""


@pytest.fixture
def hooked(service: Service) -> Service:
    """A service with the hook and texthash: maps; not started."""
    service.root.mkdir()
    script = service.root / "hook"
    script.write_text(SCRIPT.format(root=service.root))
    script.chmod(0o755)
    service.set(reload__command=json.dumps([str(script)]), postfix__map_type="texthash")
    return service


def lines(service: Service, begin: str = "") -> list[str]:
    """What the hook wrote, of those lines that begin so."""
    try:
        said = (service.root / "hook.log").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [line for line in said if line.startswith(begin)]


def loaded(service: Service, local_part: str) -> bool:
    """Postfix acts on the mailbox."""
    return f"{local_part}@example.com " in (service.root / "loaded").read_text()


def prepare(service: Service, fault: Fault | None = None) -> None:
    service.start(fault=fault)
    service.must("POST", "/domains", restapi.domain())
    service.must("POST", "/mailboxes", restapi.mailbox("ann@example.com"))
    assert loaded(service, "ann")


def add(service: Service, local_part: str, **headers: str) -> tuple[int, Any]:
    body = restapi.mailbox(f"{local_part}@example.com")
    return service.ask("POST", "/mailboxes", body, **headers)


def stands_it(service: Service, fault: Path, said: str) -> None:
    """With the fault nothing is claimed; when it goes, all is live, and nothing waits behind it."""
    fault.touch()
    status, answer = add(service, "bob")
    assert (status, answer["applied"]) == (202, False), answer
    assert said in answer["detail"]
    assert not loaded(service, "bob")
    later = add(service, "eve", Prefer="respond-async")[1]["generation"]
    assert service.ask("GET", "/readyz")[0] == 503
    shown = service.must("GET", "/status")
    assert (shown["applied"], shown["problem"]["code"]) == (False, "hook_failed")
    assert not service.must("GET", f"/status?generation={later}&wait=1")["applied"]
    fault.unlink()
    assert service.must("GET", f"/status?generation={later}&wait=10")["applied"]
    assert loaded(service, "bob")
    assert loaded(service, "eve")
    assert service.ready()
    assert add(service, "dan")[0] == 201
    assert loaded(service, "dan")
    service.agrees(2)


def test_the_hook_fails(hooked: Service) -> None:
    """A hook that exits with another status than 0 is run again until it does its work."""
    prepare(hooked)
    stands_it(hooked, hooked.root / "fail", "failed with exit status 3")


def test_the_hook_hangs(hooked: Service) -> None:
    """A hook that does not end is killed at its time limit and run again."""
    hooked.set(reload__timeout="0.4")
    prepare(hooked)
    stands_it(hooked, hooked.root / "hang", "did not end within 0.4 seconds")


def test_the_hook_cannot_be_started(hooked: Service) -> None:
    """A hook that is not there is a reason not to be ready, not one to fall over."""
    prepare(hooked)
    script, aside = hooked.root / "hook", hooked.root / "aside"
    script.rename(aside)
    assert add(hooked, "bob")[0] == 202
    assert hooked.ask("GET", "/readyz")[0] == 503
    aside.rename(script)
    assert hooked.must("GET", "/status?generation=3&wait=10")["applied"]
    assert loaded(hooked, "bob")


def test_a_slow_hook_is_waited_for(hooked: Service) -> None:
    """An answer says applied when the hook has done its work, not before."""
    prepare(hooked)
    (hooked.root / "slow").touch()
    assert add(hooked, "bob")[0] == 201
    assert loaded(hooked, "bob")


def test_a_late_hook_is_not_waited_for_for_ever(hooked: Service) -> None:
    """After some time the answer is that it is not live yet; it becomes live all the same."""
    prepare(hooked, Fault(limits={"mailapi.rounds:LATE": 0.2}))
    (hooked.root / "slow").touch()
    status, answer = add(hooked, "bob")
    assert (status, answer["applied"]) == (202, False)
    assert "late" in answer["detail"]
    assert hooked.must("GET", f"/status?generation={answer['generation']}&wait=10")["applied"]
    assert loaded(hooked, "bob")


async def test_the_hook_never_runs_once_per_change(hooked: Service) -> None:
    """Sixteen who create at once share its runs, one at a time, and each is live when told so."""
    prepare(hooked)
    before = len(lines(hooked, "begin"))
    async with hooked.session() as session:
        await asyncio.gather(*(creator(hooked, session, number) for number in range(16)))
    runs = len(lines(hooked, "begin")) - before
    assert 1 <= runs <= 16 * 12 / 4, f"{runs} runs for {16 * 12} changes"
    one_at_a_time(hooked)


async def test_one_run_of_the_hook_serves_all_that_were_published_before(hooked: Service) -> None:
    """However many batches come while it runs, its next run is for all of them."""
    prepare(hooked)
    (hooked.root / "slow").touch()
    before = len(lines(hooked, "begin"))
    for number in range(20):  # each in a batch of its own
        status, answer = add(hooked, f"m{number}", Prefer="respond-async")
        assert status == 202
    async with hooked.session() as session:
        path = f"status?generation={answer['generation']}&wait=20"
        async with session.get(path) as shown:
            assert (await shown.json())["applied"]
    assert len(lines(hooked, "begin")) - before <= 4
    assert all(loaded(hooked, f"m{number}") for number in range(20))


async def creator(service: Service, session: aiohttp.ClientSession, number: int) -> None:
    for count in range(12):
        name = f"m{number}-{count}"
        body = restapi.mailbox(f"{name}@example.com")
        async with session.post("mailboxes", json=body) as answer:
            assert answer.status == 201
        assert loaded(service, name)


def one_at_a_time(service: Service) -> None:
    """Each run ended before the next began."""
    kinds = [line.split()[0] for line in lines(service) if not line.startswith("line")]
    assert kinds == ["begin", "end"] * (len(kinds) // 2)


def test_a_reload_that_a_crash_prevented_is_done_at_the_start(hooked: Service) -> None:
    """The files were right already when the service died; Postfix did not know yet."""
    armed = hooked.root / "armed"
    prepare(hooked, Fault("mailapi.rounds:Rounds.published", armed))
    armed.touch()
    with pytest.raises((OSError, http.client.HTTPException)):
        add(hooked, "bob")
    assert hooked.ended() == -9
    hooked.start()
    hooked.agrees(2)
    assert hooked.must("GET", "/status?generation=3&wait=5")["applied"]
    assert loaded(hooked, "bob")


# ---------- the end of sessions ----------


def new_password(service: Service, local_part: str, secret: str, **headers: str) -> int:
    body = {"password_hash": restapi.HASH[:-3] + secret}
    return service.stored("PUT", f"/mailboxes/{local_part}@example.com", body, **headers)


def waiting(service: Service) -> int:
    """How many sessions are still to be ended."""
    with closing(sqlite3.connect(f"file:{service.database}?mode=ro", uri=True)) as db:
        (count,) = db.execute("SELECT count(*) FROM kick").fetchone()
    return int(count)


def kicked(service: Service, local_part: str = "ann", left: int = 0) -> None:
    """The hook has ended these sessions; `left` others wait."""
    poll(lambda: lines(service, f"end kick {local_part}@"), what=f"a kick of {local_part}")
    poll(lambda: waiting(service) == left, what=f"{left} kicks wait")


def test_no_session_ends_before_the_change_is_live(hooked: Service) -> None:
    """Who is thrown out while the old password is still good would just come back."""
    armed = hooked.root / "armed"
    prepare(hooked, Fault("os:rename", armed, errno=errno.EIO))
    armed.touch()
    new_password(hooked, "ann", "111")
    poll(lambda: hooked.said().count("not live") > 1, what="it is tried twice")
    assert lines(hooked, "begin kick") == []
    armed.unlink()
    kicked(hooked)
    assert [line[-3:] for line in lines(hooked, "line")] == ["111"]


def test_sessions_end_after_the_change_is_live(hooked: Service) -> None:
    """Who was given a new password is thrown out when Dovecot's file has it; others are not."""
    prepare(hooked)
    new_password(hooked, "ann", "111")
    kicked(hooked)
    assert [line[-3:] for line in lines(hooked, "line")] == ["111"]
    hooked.must("PUT", "/mailboxes/ann@example.com", {"name": "Ann"})
    add(hooked, "bob")
    assert len(lines(hooked, "begin kick")) == 1
    hooked.must("DELETE", "/mailboxes/bob@example.com")
    kicked(hooked, "bob")


def test_a_crash_forgets_no_session(hooked: Service) -> None:
    """If the service dies before the hook has ended the sessions, the next start does it."""
    prepare(hooked)
    (hooked.root / "hang-kick").touch()
    new_password(hooked, "ann", "111")
    poll(lambda: lines(hooked, "begin kick"), what="the kick begins")
    hooked.kill()
    assert waiting(hooked) == 1
    (hooked.root / "hang-kick").unlink()
    hooked.start()
    kicked(hooked)
    assert len(lines(hooked, "begin kick")) == 2


def test_sessions_that_cannot_be_ended_hold_up_no_others(hooked: Service) -> None:
    """What fails is tried again, after the others."""
    prepare(hooked, Fault(limits={"mailapi.kick:PAUSE": 0.05}))
    for name in ("bob", "zoe"):
        assert add(hooked, name)[0] == 201
    for name in ("ann", "bob"):
        (hooked.root / f"fail-{name}@example.com").touch()
    for name in ("ann", "bob", "zoe"):
        new_password(hooked, name, "111")
    poll(lambda: waiting(hooked) == 2, what="zoe's sessions are ended")
    for name in ("ann", "bob"):
        (hooked.root / f"fail-{name}@example.com").unlink()
        kicked(hooked, name, left=1 if name == "ann" else 0)


def test_sessions_end_though_an_earlier_change_is_late(hooked: Service) -> None:
    """A change that overtakes a slow one is live by itself, but waits with its kick."""
    prepare(hooked)
    (hooked.root / "slow").touch()
    hooked.stored("POST", "/apply", {}, Prefer="respond-async")
    add(hooked, "bob", Prefer="respond-async")
    new_password(hooked, "ann", "111", Prefer="respond-async")
    kicked(hooked)
