"""A service for a `Bed`, and its domains, mailboxes and aliases, made over HTTP.

    with BedService(bed) as service:
        world = World(service)
        ann = world.mailbox(f"ann@{world.domain()}")    # Postfix and Dovecot act on it now

A method of `World` is one request. It returns as soon as the answer has come, which must say
`applied: true`: whoever calls it acts on that promise and waits for nothing.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

import restapi
from bed import Bed
from mishap import Fault
from process import Service

from mailapi.config import Config

PASSWORD = "correct horse"
_numbers = itertools.count(1)


class BedService(Service):
    """`mailapi serve` with the configuration of a bed; `environment` changes some of it."""

    def __init__(self, bed: Bed, fault: Fault | None = None, **environment: str) -> None:
        self._fault = fault
        config = bed.config
        given = {**_environment(config), "server__port": "0", "rate_limit__requests": "0"}
        super().__init__(bed.layout.service, **{**given, "log__format": "json", **environment})
        self.postfix, self.dovecot = config.postfix.directory, config.dovecot.directory
        self.database = config.state.directory / "mailapi.db"

    def __enter__(self) -> Self:
        self.start(fault=self._fault)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, *arguments: Any, **named: Any) -> tuple[int, Any]:
        """On a connection of its own: one that stays is closed when nobody has asked for long."""
        self.hang_up()
        return super().ask(*arguments, **named)


def _environment(config: Config) -> dict[str, str]:
    """All its values as variables, which win over what `serve --dev` has."""
    return {f"{name}__{key}": _variable(v) for name, section in config for key, v in section}


def _variable(value: Any) -> str:
    if isinstance(value, tuple):
        return json.dumps([str(each) for each in value])
    return "" if value is None else str(value)


class World:
    """Names are returned as they were given; `fields` are the API's."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._ids: dict[str, int] = {}  # of aliases

    def domain(self, name: str = "", **fields: Any) -> str:
        """A new domain; without a name, of a name that no other test uses."""
        name = name or f"d{next(_numbers)}.example"
        self._ask("POST", "/domains", restapi.domain(name, **fields))
        return name

    def mailbox(self, email: str, password: str = PASSWORD, **fields: Any) -> str:
        fields = {"password": password, "quota": 0} | fields
        self._ask("POST", "/mailboxes", restapi.mailbox(email, **fields))
        return email

    def mailboxes(self, *emails: str, password: str = PASSWORD, **fields: Any) -> list[str]:
        """Several, alike, in one batch."""
        fields = {"password": password, "quota": 0} | fields
        self.batch(*(("POST", "/mailboxes", restapi.mailbox(e, **fields)) for e in emails))
        return list(emails)

    def alias(self, address: str, *goto: str, **fields: Any) -> str:
        answer = self._ask("POST", "/aliases", restapi.alias(address, list(goto), **fields))
        self._ids[address] = answer["id"]
        return address

    def set_domain(self, name: str, **fields: Any) -> None:
        self._ask("PUT", f"/domains/{name}", fields)

    def set_mailbox(self, email: str, **fields: Any) -> None:
        self._ask("PUT", f"/mailboxes/{_in_path(email)}", fields)

    def set_alias(self, address: str, **fields: Any) -> None:
        self._ask("PUT", f"/aliases/{self._ids[address]}", fields)

    def remove_domain(self, name: str, cascade: bool = False) -> None:
        self._ask("DELETE", f"/domains/{name}{'?cascade=true' * cascade}")

    def remove_mailbox(self, email: str) -> None:
        self._ask("DELETE", f"/mailboxes/{_in_path(email)}")

    def remove_alias(self, address: str) -> None:
        self._ask("DELETE", f"/aliases/{self._ids.pop(address)}")

    def batch(self, *changes: tuple[str, str, Mapping[str, Any]]) -> None:
        """All of them at once: one generation, one publish."""
        named = [dict(zip(("method", "path", "body"), change, strict=True)) for change in changes]
        for answer in self._service.must("POST", "/batch", named):
            assert answer["applied"] is True, answer

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        answer = self._service.must(method, path, body)
        assert answer["applied"] is True, answer
        return answer


def _in_path(email: str) -> str:
    return quote(email, safe="@")
