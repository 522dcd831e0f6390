"""What clients can ask for: a request becomes a rule for the writer, one short method a use case.

    rule = await changes.plan("PUT", "mailboxes", Request(caller, "ann@example.com", body))
    committed = await writer.submit(Job([rule], caller, request_id))

`plan` parses and normalises, refuses what needs no look at the database, and computes password
hashes, which take long, before anything waits for them. Single requests and the items of a batch
take the same way. Raises `Refused` and `Busy`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from . import addresses, models, passwords
from .caller import Caller
from .errors import Forbidden, Invalid, MethodNotAllowed, NotFound
from .passwords import Hasher
from .rules import aliases, domains, keys, mailboxes, syncjobs
from .syncplans import FIXED, SyncPlans
from .txn import Result, Rule, Txn

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_FIXED: Final = {  # what PUT may only repeat
    "domains": {"domain", "mailboxes_used", "aliases_used", "quota_used"},
    "mailboxes": {"email", "local_part", "domain", "quota_used"},
    "aliases": {"id", "domain"},
    "syncjobs": FIXED,
}


@dataclass(frozen=True, slots=True)
class Request:
    """A change as a client asks for it; `key` is the name or number in the path."""

    caller: Caller
    key: str = ""
    body: object = None
    query: Mapping[str, str] = field(default_factory=dict)
    if_match: str | None = None


Plan = Callable[[Request], Awaitable[Rule]]


class Changes:
    """`hostname` can be no domain; `mail_home` is where the mail of a mailbox lies."""

    def __init__(
        self, hostname: str, mail_home: str, min_length: int, hasher: Hasher, sync: SyncPlans
    ) -> None:
        self._hostname, self._mail_home, self.sync = hostname, mail_home, sync
        self._min_length, self._hasher = min_length, hasher
        self._plans: dict[tuple[str, str], Plan] = {
            ("POST", "domains"): self.add_domain,
            ("PUT", "domains"): self.update_domain,
            ("DELETE", "domains"): self.remove_domain,
            ("POST", "mailboxes"): self.add_mailbox,
            ("PUT", "mailboxes"): self.update_mailbox,
            ("DELETE", "mailboxes"): self.remove_mailbox,
            ("POST", "aliases"): self.add_alias,
            ("PUT", "aliases"): self.update_alias,
            ("DELETE", "aliases"): self.remove_alias,
            ("POST", "syncjobs"): self.add_syncjob,
            ("PUT", "syncjobs"): self.update_syncjob,
            ("DELETE", "syncjobs"): self.remove_syncjob,
            ("POST", "keys"): self.add_key,
            ("DELETE", "keys"): self.remove_key,
        }

    async def plan(self, method: str, resource: str, request: Request) -> Rule:
        """The rule for a change of `resource`; `key` is empty for POST."""
        plan = self._plans.get((method, resource))
        if plan is None or (method == "POST") != (request.key == ""):
            raise MethodNotAllowed
        request.caller.writes_something()
        takes = {"cascade"} if (method, resource) == ("DELETE", "domains") else set[str]()
        if unknown := set(request.query) - takes:
            known = next(iter(unknown)) if unknown <= {"cascade"} else "query"
            raise Invalid.field(known, "is not a parameter of this request; leave it out")
        return await plan(request)

    async def add_domain(self, request: Request) -> Rule:
        fields = models.parse(models.DomainAdd, request.body)
        try:
            addresses.hosted_domain(fields["domain"], self._hostname)
        except ValueError as error:
            raise Invalid.field("domain", str(error)) from None
        return partial(domains.add, fields=fields)

    async def update_domain(self, request: Request) -> Rule:
        fields, fixed = _split("domains", models.parse(models.DomainUpdate, request.body))
        name = _domain(request.key)
        return partial(
            domains.update, name=name, fields=fields, fixed=fixed, if_match=request.if_match
        )

    async def remove_domain(self, request: Request) -> Rule:
        cascade = flag("cascade", request.query.get("cascade", "false"))
        name = _domain(request.key)
        return partial(domains.remove, name=name, cascade=cascade, if_match=request.if_match)

    async def add_mailbox(self, request: Request) -> Rule:
        fields = models.parse(models.MailboxAdd, request.body)
        if fields["password"] is None and fields["password_hash"] is None:
            raise Invalid.field("password", "is required")
        request.caller.writes(fields["domain"])
        fields = {key: value for key, value in fields.items() if value is not None}
        return partial(mailboxes.add, fields=await self._hashed(request.caller, fields))

    async def update_mailbox(self, request: Request) -> Rule:
        given, fixed = _split("mailboxes", models.parse(models.MailboxUpdate, request.body))
        email = _address(request.key)
        request.caller.writes(addresses.split(email)[1])
        fields = await self._hashed(request.caller, given)
        return partial(
            mailboxes.update, email=email, fields=fields, fixed=fixed, if_match=request.if_match
        )

    async def remove_mailbox(self, request: Request) -> Rule:
        email = _address(request.key)
        local, domain = addresses.split(email)
        values = {"%d": domain, "%n": local, "%u": email}
        home = re.sub("%[dnu]", lambda found: values[found[0]], self._mail_home)

        def rule(txn: Txn) -> Result:
            result = mailboxes.remove(txn, email, request.if_match)
            result.detail = f"The mail stays on disk, in {home}."
            return result

        return rule

    async def renew_password(self, email: str, stored: str | None, current: str, new: str) -> Rule:
        """For the owner, who knows the current password; `stored` is what `mailboxes.owned` found.

        Raise `Forbidden` if it is another one, after the same work whether there is a mailbox.
        """
        _checked("new", passwords.check, new, self._min_length)
        if not await self._hasher.verify(current, stored) or stored is None:
            raise Forbidden("The address or the current password is wrong.")
        made = await self._hasher.hash(new)
        return partial(mailboxes.renew, email=email, proved=stored, password_hash=made)

    async def add_alias(self, request: Request) -> Rule:
        return partial(aliases.add, fields=models.parse(models.AliasAdd, request.body))

    async def update_alias(self, request: Request) -> Rule:
        fields, fixed = _split("aliases", models.parse(models.AliasUpdate, request.body))
        return partial(
            aliases.update,
            alias_id=number(request.key),
            fields=fields,
            fixed=fixed,
            if_match=request.if_match,
        )

    async def remove_alias(self, request: Request) -> Rule:
        return partial(aliases.remove, alias_id=number(request.key), if_match=request.if_match)

    async def add_syncjob(self, request: Request) -> Rule:
        return partial(syncjobs.add, fields=self.sync.added(request.caller, request.body))

    async def update_syncjob(self, request: Request) -> Rule:
        fields, fixed = _split("syncjobs", self.sync.updated(request.body))

        def rule(txn: Txn) -> Result:
            result = syncjobs.update(txn, number(request.key), fields, fixed, request.if_match)
            job = json.loads(result.data or "{}")
            self.sync.check_plain(job["enc1"], job["host1"])  # each may have come alone
            return result

        return rule

    async def remove_syncjob(self, request: Request) -> Rule:
        return partial(syncjobs.remove, job_id=number(request.key), if_match=request.if_match)

    async def add_key(self, request: Request) -> Rule:
        request.caller.administers()
        return partial(keys.add, fields=models.parse(models.KeyAdd, request.body))

    async def remove_key(self, request: Request) -> Rule:
        request.caller.administers()
        return partial(keys.remove, key_id=number(request.key), if_match=request.if_match)

    async def _hashed(self, caller: Caller, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields with `password_hash` in place of a password. Raise `Invalid`, `Busy`."""
        password = fields.pop("password", None)
        if "password_hash" in fields:
            if password is not None:
                raise Invalid.field("password_hash", "must not stand beside password")
            if not caller.unrestricted:
                raise Forbidden("A key limited to domains may not set password_hash.")
            _checked("password_hash", passwords.check_hash, fields["password_hash"])
        elif password is not None:
            _checked("password", passwords.check, password, self._min_length)
            fields["password_hash"] = await self._hasher.hash(password)
        return fields


def key_of(resource: str, text: str) -> str | int:
    """The key of an object in normal form, from its name or number in a path. Or `NotFound`."""
    return {"domains": _domain, "mailboxes": _address}.get(resource, number)(text)


def number(text: str) -> int:
    """An object's number. Raise `NotFound`."""
    if not _NUMBER.fullmatch(text):
        raise NotFound
    return int(text)


def flag(name: str, text: str) -> bool:
    """A query's `true`/`1` or `false`/`0`. Raise `Invalid`."""
    try:
        return {"true": True, "1": True, "false": False, "0": False}[text]
    except KeyError:
        raise Invalid.field(name, "must be true or false") from None


def _domain(text: str) -> str:
    try:
        return addresses.domain(text)
    except ValueError:
        raise NotFound("There is no such domain; check its name.") from None


def _address(text: str) -> str:
    try:
        return addresses.address(text)
    except ValueError:
        raise NotFound("There is no such mailbox; check its address.") from None


def _checked(name: str, check: Callable[..., None], *values: Any) -> None:
    try:
        check(*values)
    except ValueError as error:
        raise Invalid.field(name, str(error)) from None


def _split(resource: str, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What may be changed, and what may only be repeated."""
    names = _FIXED[resource] | set(models.TIMES)
    fields = {name: value for name, value in given.items() if name not in names}
    return fields, {name: value for name, value in given.items() if name in names}
