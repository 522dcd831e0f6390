"""kill -9 at random moments under eight writers, `MAILAPI_KILLS` times (40 unless set).

Each writer has domains of its own and a model of what was acknowledged. The operation that it had
under way when the service died may have happened or not, but wholly. Every answer that said
`applied` is checked in the files at once.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import aiohttp
import oracle
import pytest
import restapi
from process import Service, lmdb_entries

KILLS = int(os.environ.get("MAILAPI_KILLS", "40"))
WRITERS = 8
BURST = (0.0, 0.2)  # seconds from the first answer to the kill
START = (0.0, 0.12)  # seconds of a start that is killed, too
State = dict[str, dict[str, Any]]  # domain -> its switch, mailboxes and aliases


@dataclass
class Operation:
    """A request, and the state that follows from it; `seen` is the mailbox to look for."""

    method: str
    path: str
    body: Any
    after: State
    seen: str | None = None


class Writer:
    """Sends one operation after the other to its own domains."""

    def __init__(self, number: int, dice: random.Random, service: Service) -> None:
        self._name, self._dice, self._service = f"w{number}", dice, service
        self._numbers = itertools.count()
        self.acknowledged: State = {}
        self.under_way: State | None = None
        self.generation = self.done = 0
        self.ids: dict[str, int] = {}

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Until the service is gone."""
        while True:
            operation = self._choose()
            self.under_way = operation.after
            later = {"Prefer": "respond-async"} if self._dice.random() < 0.2 else {}
            try:
                async with session.request(
                    operation.method, operation.path, json=operation.body, headers=later
                ) as answer:
                    status, data = answer.status, await answer.json()
            except (aiohttp.ClientError, OSError):
                return
            assert status in ((202,) if later else (200, 201)), (status, data, operation)
            self.acknowledged, self.under_way = operation.after, None
            self.done += 1
            for item in data if isinstance(data, list) else [data]:
                self.generation = max(self.generation, item["generation"])
                if "goto" in item.get("data", {}):
                    self.ids[item["data"]["address"]] = item["id"]
            if operation.seen and not later:
                self._look(operation.seen)

    def _look(self, email: str) -> None:
        """`applied` was promised: the files must have it now."""
        domain = self.acknowledged[oracle.domain_of(email)]
        mailbox = domain["mailboxes"].get(email)
        wanted = mailbox if mailbox and mailbox["active"] and domain["active"] else None
        users = (self._service.dovecot / "users").read_text()
        found = [line for line in users.splitlines() if line.startswith(f"{email}:")]
        secrets = [line.split(":")[1] for line in found]
        assert secrets == ([wanted["hash"]] if wanted else []), email
        entries = lmdb_entries(self._service.postfix / "virtual_mailbox_maps")
        assert entries is None or (email in entries) == bool(wanted), email

    # ---------- operations ----------

    def _choose(self) -> Operation:
        state = copy.deepcopy(self.acknowledged)
        domains = [name for name in state if len(state[name]["mailboxes"]) < 12]
        if not domains or (len(state) < 3 and self._dice.random() < 0.2):
            return self._batch(state) if self._dice.random() < 0.3 else self._add_domain(state)
        name = self._dice.choice(domains)
        boxes, aliases = state[name]["mailboxes"], state[name]["aliases"]
        kinds: list[Callable[[State, str], Operation]] = [self._add_mailbox] * 4
        kinds += [self._set_domain] + [self._remove_domain] * (len(state) > 2)
        if boxes:
            kinds += [self._set_mailbox] * 3 + [self._remove_mailbox] * 2 + [self._add_alias] * 2
        if aliases and boxes:
            kinds += [self._set_alias, self._remove_alias]
        return self._dice.choice(kinds)(state, name)

    def _new(self, what: str) -> str:
        return f"{what}{next(self._numbers)}"

    def _add_domain(self, state: State) -> Operation:
        name = f"{self._name}.{self._new('d')}.example"
        state[name] = {"active": True, "mailboxes": {}, "aliases": {}}
        return Operation("POST", "domains", restapi.domain(name), state)

    def _batch(self, state: State) -> Operation:
        """A domain with a mailbox and a catch-all, all or nothing."""
        domain = self._add_domain(state)
        name = domain.body["domain"]
        operations = [domain, self._add_mailbox(state, name)]
        email = next(iter(state[name]["mailboxes"]))
        state[name]["aliases"][f"@{name}"] = [email]
        operations.append(Operation("POST", "aliases", restapi.alias(f"@{name}", email), state))
        body = [{"method": o.method, "path": f"/{o.path}", "body": o.body} for o in operations]
        return Operation("POST", "batch", body, state, email)

    def _set_domain(self, state: State, name: str) -> Operation:
        state[name]["active"] = not state[name]["active"]
        seen = next(iter(state[name]["mailboxes"]), None)
        return Operation("PUT", f"domains/{name}", {"active": state[name]["active"]}, state, seen)

    def _remove_domain(self, state: State, name: str) -> Operation:
        del state[name]
        return Operation("DELETE", f"domains/{name}?cascade=true", None, state)

    def _hash(self) -> str:
        return restapi.HASH[:-8] + f"{self._dice.randrange(10**8):08}"

    def _add_mailbox(self, state: State, name: str) -> Operation:
        email, secret = f"{self._new('m')}@{name}", self._hash()
        state[name]["mailboxes"][email] = {"active": True, "hash": secret}
        body = restapi.mailbox(email, password_hash=secret)
        return Operation("POST", "mailboxes", body, state, email)

    def _set_mailbox(self, state: State, name: str) -> Operation:
        email = self._dice.choice(list(state[name]["mailboxes"]))
        mailbox = state[name]["mailboxes"][email]
        mailbox["active"], mailbox["hash"] = self._dice.random() < 0.7, self._hash()
        body = {"active": mailbox["active"], "password_hash": mailbox["hash"]}
        return Operation("PUT", f"mailboxes/{email}", body, state, email)

    def _remove_mailbox(self, state: State, name: str) -> Operation:
        """It is taken out of the aliases, and one that is left without a target goes."""
        email = self._dice.choice(list(state[name]["mailboxes"]))
        del state[name]["mailboxes"][email]
        left = {
            address: [target for target in goto if target != email]
            for address, goto in state[name]["aliases"].items()
        }
        state[name]["aliases"] = {address: goto for address, goto in left.items() if goto}
        return Operation("DELETE", f"mailboxes/{email}", None, state, email)

    def _targets(self, state: State, name: str) -> list[str]:
        boxes = list(state[name]["mailboxes"])
        return self._dice.sample(boxes, self._dice.randint(1, len(boxes)))

    def _add_alias(self, state: State, name: str) -> Operation:
        address, goto = f"{self._new('a')}@{name}", self._targets(state, name)
        state[name]["aliases"][address] = goto
        return Operation("POST", "aliases", restapi.alias(address, goto), state)

    def _set_alias(self, state: State, name: str) -> Operation:
        address = self._dice.choice(list(state[name]["aliases"]))
        goto = state[name]["aliases"][address] = self._targets(state, name)
        return Operation("PUT", f"aliases/{self.ids[address]}", {"goto": goto}, state)

    def _remove_alias(self, state: State, name: str) -> Operation:
        address = self._dice.choice(list(state[name]["aliases"]))
        del state[name]["aliases"][address]
        return Operation("DELETE", f"aliases/{self.ids[address]}", None, state)

    # ---------- after the crash ----------

    def compare(self, stored: State, ids: dict[str, int]) -> None:
        """All that was acknowledged is stored; what was under way is, or is not."""
        mine = {name: domain for name, domain in stored.items() if self.owns(name)}
        allowed = [self.acknowledged, *([self.under_way] if self.under_way is not None else [])]
        assert mine in allowed, (self._name, mine, allowed)
        self.acknowledged, self.under_way, self.ids = mine, None, ids

    def owns(self, domain: str) -> bool:
        return domain.startswith(f"{self._name}.")


def stored(service: Service) -> tuple[State, dict[str, int], int]:
    """The writers' view of the database, the numbers of aliases, and the generation."""
    found = service.state()
    state: State = {
        row["domain"]: {"active": bool(row["active"]), "mailboxes": {}, "aliases": {}}
        for row in found["domains"]
    }
    for row in found["mailboxes"]:
        mailbox = {"active": bool(row["active"]), "hash": row["password_hash"]}
        state[oracle.domain_of(row["email"])]["mailboxes"][row["email"]] = mailbox
    for row in found["aliases"]:
        goto = row["goto"].split(",")
        state[oracle.domain_of(row["address"])]["aliases"][row["address"]] = goto
    ids = {row["address"]: row["id"] for row in found["aliases"]}
    with closing(sqlite3.connect(f"file:{service.database}?mode=ro", uri=True)) as db:
        (generation,) = db.execute("SELECT generation FROM state").fetchone()
    return state, ids, generation


def done(writers: list[Writer]) -> int:
    """How many changes were acknowledged."""
    return sum(writer.done for writer in writers)


async def burst(service: Service, writers: list[Writer], seconds: float) -> None:
    """All writers at work, and then the kill."""
    before = done(writers)
    async with service.session() as session:
        tasks = [asyncio.create_task(writer.run(session)) for writer in writers]
        while done(writers) == before and not any(task.done() for task in tasks):
            await asyncio.sleep(0.001)
        await asyncio.sleep(seconds)
        failed = [task for task in tasks if task.done()]
        service.kill()
        await asyncio.gather(*tasks)
        assert not failed, "a writer ended before the kill"


@pytest.mark.timeout(60 + 3 * KILLS)
async def test_killed_at_random_under_eight_writers(service: Service) -> None:
    """No acknowledged change is lost, none is there by half, and files follow in two seconds."""
    seed = int(os.environ.get("MAILAPI_SEED", random.randrange(10**6)))
    print(f"MAILAPI_SEED={seed}")
    dice = random.Random(seed)
    writers = [Writer(number, dice, service) for number in range(WRITERS)]
    service.start()
    for _ in range(KILLS):
        await burst(service, writers, dice.uniform(*BURST))
        if dice.random() < 0.25:
            service.launch()
            await asyncio.sleep(dice.uniform(*START))
            service.kill()
        service.start()
        service.agrees(2)
        state, ids, generation = stored(service)
        assert generation >= max(writer.generation for writer in writers)
        for writer in writers:
            writer.compare(state, ids)
        assert all(any(writer.owns(name) for writer in writers) for name in state)
    print(f"{done(writers)} changes were acknowledged")
