"""Random API calls against a model in a dict: answers, GETs and files always agree with it.

The model knows the contract's rules in its own words. For each call it says which status must come
and what the state must be then; after each call the service's lists are compared with it, and all
rendered files with what the oracle makes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import Any

import oracle
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from restapi import HASH, Api
from restapi import alias as alias_body
from restapi import domain as domain_body
from restapi import mailbox as mailbox_body

from mailapi import app, config, local

DOMAINS = ("one.example", "two.example", "three.example")
NAMES = ("ann", "bob", "cy")
FOREIGN = "Someone@Elsewhere.example"

domains = st.sampled_from(DOMAINS)
emails = st.builds("{}@{}".format, st.sampled_from(NAMES), domains)
alias_addresses = st.builds("{}@{}".format, st.sampled_from((*NAMES, "info", "team", "")), domains)
targets = st.builds("{}@{}".format, st.sampled_from((*NAMES, "ann+x", "info", "team")), domains)
gotos = st.lists(targets | st.just(FOREIGN), min_size=1, max_size=3, unique_by=str.lower)
flags = st.booleans()
switches = st.sampled_from(["active", "force_pw_update", "tls_enforce_in", "tls_enforce_out"])
HASHES = tuple(HASH[:-1] + last for last in "abc")


def untagged(address: str) -> str:
    head, _, tail = address.rpartition("@")
    return f"{head.split('+')[0]}@{tail}"


def part(address: str) -> str:
    return address.rpartition("@")[2]


class Machine(RuleBasedStateMachine):
    """Each rule sends one call and does to the model what the contract says."""

    def __init__(self) -> None:
        super().__init__()
        self.domains: dict[str, dict[str, Any]] = {}
        self.mailboxes: dict[str, dict[str, Any]] = {}
        self.aliases: dict[str, dict[str, Any]] = {}
        self.stack = contextlib.ExitStack()
        self.runner = self.stack.enter_context(asyncio.Runner())
        root = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        what = config.dev(root).model_copy(
            update={"rate_limit": config.dev(root).rate_limit.model_copy(update={"requests": 0})}
        )
        key = local.add_key(what, {"name": "admin", "scope": "admin"})
        self.client = self.runner.run(self._started(what))
        self.api = Api(self.client, key, what)

    async def _started(self, what: config.Config) -> TestClient[Any, Any]:
        client = TestClient(TestServer(app.create(what)))
        await client.start_server()
        return client

    def teardown(self) -> None:
        self.runner.run(self.client.close())
        self.stack.close()

    def send(self, method: str, path: str, wanted: int, body: Any = None) -> Any:
        sent = () if body is None else (body,)
        answer = self.runner.run(self.api.send(method, path, *sent))
        assert answer.status == wanted, (method, path, body, answer.status, answer.raw)
        if answer.status < 300:
            assert answer.json["applied"]
        return answer.json

    @initialize(name=domains)
    def begin(self, name: str) -> None:
        self.add_domain(name, False)

    # --- domains ---

    @rule(name=domains, backupmx=flags)
    def add_domain(self, name: str, backupmx: bool) -> None:
        body = domain_body(name, backupmx=backupmx, mailboxes=2, aliases=3, quota=10, maxquota=8,
                           defquota=1)  # fmt: skip
        self.send("POST", "/domains", 409 if name in self.domains else 201, body)
        self.domains.setdefault(name, body)

    @rule(name=domains, active=flags, backupmx=flags)
    def switch_domain(self, name: str, active: bool, backupmx: bool) -> None:
        known = name in self.domains
        change = {"active": active, "backupmx": backupmx}
        self.send("PUT", f"/domains/{name}", 200 if known else 404, change)
        if known:
            self.domains[name] |= change

    @rule(name=domains, cascade=flags)
    def remove_domain(self, name: str, cascade: bool) -> None:
        boxes = [email for email in self.mailboxes if part(email) == name]
        addresses = [address for address in self.aliases if part(address) == name]
        refused = (boxes or addresses) and not cascade
        wanted = 404 if name not in self.domains else 409 if refused else 200
        self.send("DELETE", f"/domains/{name}?cascade={str(cascade).lower()}", wanted)
        if wanted != 200:
            return
        del self.domains[name]
        for email in boxes:
            del self.mailboxes[email]
        for address in addresses:
            del self.aliases[address]
        for address in (*boxes, *addresses):
            self.forget(address)

    # --- mailboxes ---

    @rule(email=emails, quota=st.integers(1, 9), tls=flags, number=st.integers(0, 2))
    def add_mailbox(self, email: str, quota: int, tls: bool, number: int) -> None:
        body = mailbox_body(email, quota=quota, tls_enforce_in=tls, password_hash=HASHES[number])
        wanted = self.room_for_mailbox(email, quota)
        self.send("POST", "/mailboxes", wanted, body)
        if wanted == 201:
            self.mailboxes[email] = body | {"email": email}

    def room_for_mailbox(self, email: str, quota: int) -> int:
        name = part(email)
        if name not in self.domains:
            return 404
        if email in self.mailboxes or email in self.aliases:
            return 409
        quotas = [row["quota"] for e, row in self.mailboxes.items() if part(e) == name]
        return 400 if len(quotas) >= 2 or quota > 8 or sum(quotas) + quota > 10 else 201

    @rule(email=emails, field=switches, value=flags)
    def switch_mailbox(self, email: str, field: str, value: bool) -> None:
        known = email in self.mailboxes
        self.send("PUT", f"/mailboxes/{email}", 200 if known else 404, {field: value})
        if known:
            self.mailboxes[email][field] = value

    @rule(email=emails, number=st.integers(0, 2))
    def change_password(self, email: str, number: int) -> None:
        known = email in self.mailboxes
        change = {"password_hash": HASHES[number]}
        self.send("PUT", f"/mailboxes/{email}", 200 if known else 404, change)
        if known:
            self.mailboxes[email] |= change

    @rule(email=emails)
    def remove_mailbox(self, email: str) -> None:
        known = email in self.mailboxes
        self.send("DELETE", f"/mailboxes/{email}", 200 if known else 404)
        if known:
            del self.mailboxes[email]
            self.forget(email)

    # --- aliases ---

    @rule(address=alias_addresses, goto=gotos, active=flags)
    def add_alias(self, address: str, goto: list[str], active: bool) -> None:
        wanted = self.room_for_alias(address, goto)
        answer = self.send("POST", "/aliases", wanted, alias_body(address, goto, active=active))
        if wanted == 201:
            goto = [self.folded(target) for target in goto]
            row = {"id": answer["id"], "address": address, "goto": goto, "active": active}
            self.aliases[address] = row

    def room_for_alias(self, address: str, goto: list[str]) -> int:
        name = part(address)
        if name not in self.domains:
            return 404
        if address in self.mailboxes or address in self.aliases:
            return 409
        if sum(part(a) == name for a in self.aliases) >= 3:
            return 400
        return 201 if self.good(address, goto) else 400

    @rule(data=st.data(), goto=gotos, active=flags)
    def change_alias(self, data: st.DataObject, goto: list[str], active: bool) -> None:
        if not self.aliases:
            return
        address = data.draw(st.sampled_from(sorted(self.aliases)))
        row = self.aliases[address]
        wanted = 200 if self.good(address, goto) else 400
        self.send("PUT", f"/aliases/{row['id']}", wanted, {"goto": goto, "active": active})
        if wanted == 200:
            row |= {"goto": [self.folded(target) for target in goto], "active": active}

    @rule(data=st.data())
    def remove_alias(self, data: st.DataObject) -> None:
        if not self.aliases:
            self.send("DELETE", "/aliases/99999", 404)
            return
        address = data.draw(st.sampled_from(sorted(self.aliases)))
        self.send("DELETE", f"/aliases/{self.aliases.pop(address)['id']}", 200)
        self.forget(address)

    def folded(self, target: str) -> str:
        local_part, _, name = target.rpartition("@")
        ours = name.lower() in self.domains
        return f"{local_part.lower() if ours else local_part}@{name.lower()}"

    def good(self, address: str, goto: list[str]) -> bool:
        """Every target of ours is there, and nothing leads back."""
        for target in map(self.folded, goto):
            if target == address:
                return False
            here = {target, untagged(target)}
            if part(target) in self.domains and not here & (
                self.mailboxes.keys() | self.aliases.keys()
            ):
                return False
        trial = {a: row["goto"] for a, row in self.aliases.items()}
        trial[address] = [self.folded(target) for target in goto]
        return not any(self.loops(trial, start, ()) for start in trial)

    def loops(self, trial: dict[str, list[str]], address: str, path: tuple[str, ...]) -> bool:
        if address in path:
            return True
        return any(
            self.loops(trial, found, (*path, address))
            for target in trial[address]
            if (found := self.takes(trial, target)) is not None
        )

    def takes(self, trial: dict[str, list[str]], target: str) -> str | None:
        """The alias that takes mail to the target, if one does."""
        if part(target) not in self.domains:
            return None
        target = target.lower()
        for name in (target, untagged(target), f"@{part(target)}"):
            if name in self.mailboxes:
                return None
            if name in trial:
                return name
        return None

    def forget(self, address: str) -> None:
        """Take a gone address out of all targets; an alias left with none goes, too."""
        for alias, row in list(self.aliases.items()):
            if alias not in self.aliases:
                continue
            kept = [target for target in row["goto"] if not self.only_took(address, target)]
            row["goto"] = kept
            if not kept:
                del self.aliases[alias]
                self.forget(alias)

    def only_took(self, address: str, target: str) -> bool:
        if target.lower() == address:
            return True
        return untagged(target.lower()) == address and target.lower() not in self.aliases

    # --- what must hold after each call ---

    def state(self) -> oracle.State:
        return {
            "domains": list(self.domains.values()),
            "mailboxes": list(self.mailboxes.values()),
            "aliases": list(self.aliases.values()),
        }

    @invariant()
    def lists_agree(self) -> None:
        shown = [self.runner.run(self.api.send("GET", f"/{kind}")).json
                 for kind in ("domains", "mailboxes", "aliases")]  # fmt: skip
        assert {row["domain"]: row["active"] for row in shown[0]} == {
            name: row["active"] for name, row in self.domains.items()
        }
        for row in shown[1]:
            mine = self.mailboxes[row["email"]]
            assert row.items() >= {k: v for k, v in mine.items() if k in row}.items()
        assert {row["email"] for row in shown[1]} == self.mailboxes.keys()
        assert {row["address"]: row["goto"] for row in shown[2]} == {
            address: ",".join(row["goto"]) for address, row in self.aliases.items()
        }

    @invariant()
    def files_agree(self) -> None:
        what = self.api.config
        oracle.check(self.state(), what.postfix.directory, what.dovecot.directory, maps=False)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
