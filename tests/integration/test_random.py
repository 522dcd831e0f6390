"""After any series of calls the files, the maps and the servers hold what the state says."""

from __future__ import annotations

import random
from typing import Any

import oracle
import pytest
import restapi
from bed import Bed
from world import BedService

pytestmark = pytest.mark.peers
CALLS = 300
DOMAINS = ("a.example", "b.example", "sub.b.example", "c.example")
MAILBOXES = ("ann", "bob", "-eve", "o.neil", "x_y")
ALIASES = ("info", "ann+x", "first", "second", "")  # the last is a catch-all
Call = tuple[str, str, Any]


class Calls:
    """Random ones; many of them must be refused."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def next(self, aliases: list[int]) -> Call:
        """Method, path and body; `aliases` are the numbers of those that there are."""
        method = self._pick("POST", "POST", "POST", "PUT", "PUT", "DELETE")
        resource = self._pick("domain", "mailbox", "mailbox", "alias", "alias")
        if method == "DELETE" and resource == "domain" and self._often():
            method = "PUT"
        path, body = getattr(self, resource)(method, aliases)
        return method, path, body if method != "DELETE" else None

    def domain(self, method: str, _: list[int]) -> tuple[str, Any]:
        name = self._pick(*DOMAINS)
        switches = {"active": self._often(), "backupmx": not self._often()}
        if method == "POST":
            return "/domains", restapi.domain(name, **switches)
        return f"/domains/{name}" + "?cascade=true" * (method == "DELETE"), switches

    def mailbox(self, method: str, _: list[int]) -> tuple[str, Any]:
        email = self._address(MAILBOXES)
        switches = {"active": self._often(), "force_pw_update": not self._often()}
        switches |= {"tls_enforce_in": not self._often(), "tls_enforce_out": not self._often()}
        if method == "POST":
            return "/mailboxes", restapi.mailbox(email, quota=self._pick(0, 7), **switches)
        return f"/mailboxes/{email}", switches

    def alias(self, method: str, aliases: list[int]) -> tuple[str, Any]:
        goto = [self._address(MAILBOXES + ALIASES[:-1]) for _ in range(self._pick(1, 1, 2))]
        fields = {"goto": [*goto, "Zoe@far.test"][self._pick(0, 0, 1) :], "active": self._often()}
        if method == "POST":
            return "/aliases", {"address": self._address(ALIASES), **fields}
        return f"/aliases/{self._pick(*aliases, 0)}", fields

    def _address(self, local_parts: tuple[str, ...]) -> str:
        return f"{self._pick(*local_parts)}@{self._pick(*DOMAINS)}"

    def _pick(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def _often(self) -> bool:
        return self._random.random() < 0.75


@pytest.mark.parametrize("seed", range(3))
def test_everything_agrees(bed: Bed, service: BedService, seed: int):
    """Files and maps are the oracle's, key for key, and Dovecot's users are those of its file."""
    calls, statuses = Calls(seed), set()
    for number in range(CALLS):
        if number % 20 == 0:
            service.agrees(timeout=5)
        aliases = [row["id"] for row in service.state()["aliases"]]
        status, answer = service.ask(*calls.next(aliases), Prefer="respond-async")
        statuses.add(status)
    assert statuses == {202, 400, 404, 409}
    status, answer = service.ask("POST", "/domains", restapi.domain(f"last{seed}.example"))
    assert service.must("GET", f"/status?generation={answer['generation']}&wait=10")["applied"]
    state = service.state()
    assert all(len(rows) > 1 for rows in state.values())
    oracle.check(state, service.postfix, service.dovecot, config=bed.layout.postfix)
    users = bed.doveadm("user", "*").replace("\\'", "'").splitlines()  # it lists o\'neil
    assert sorted(users) == sorted(oracle.expected(state)[oracle.USERS])
