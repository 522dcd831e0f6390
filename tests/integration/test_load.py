"""Changes, SMTP sessions and programs that read the maps, all at the same time."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from typing import Any

import aiohttp
import pytest
import restapi
from bed import Bed
from world import BedService

pytestmark = pytest.mark.peers
DOMAINS = [f"load{number}.example" for number in range(4)]
LOCALS = [f"u{number}" for number in range(8)]


async def ask(http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> None:
    kept = {"Prefer": "respond-async"}
    async with http.request(method, path, json=body, headers=kept) as answer:
        assert answer.status in (200, 202), await answer.text()


async def change(http: aiohttp.ClientSession, domain: str) -> None:
    """Mailboxes, aliases and the domain itself come and go."""
    await ask(http, "POST", "domains", restapi.domain(domain))
    for number in range(4):
        for local in LOCALS:
            email = f"{local}@{domain}"
            await ask(http, "POST", "mailboxes", restapi.mailbox(email))
            await ask(http, "POST", "aliases", restapi.alias(f"a-{email}", email))
            await ask(http, "PUT", f"mailboxes/{email}", {"tls_enforce_in": number % 2 == 0})
        await ask(http, "PUT", f"domains/{domain}", {"active": number % 2 == 1})
        for local in LOCALS:
            await ask(http, "DELETE", f"mailboxes/{local}@{domain}")


def recipients(bed: Bed, over: threading.Event, replies: Counter[int]) -> None:
    """Ask for a few in each session: after more refusals smtpd(8) takes its time."""
    names = itertools.cycle([f"{local}@{domain}" for local in LOCALS for domain in DOMAINS])
    while not over.is_set():
        with bed.smtp() as client:
            client.mail("bob@elsewhere.test")
            replies.update(client.rcpt(next(names))[0] for _ in range(7))


def lookups(bed: Bed, over: threading.Event) -> None:
    while not over.is_set():
        bed.postmap_q("virtual_mailbox_maps", [f"{local}@{DOMAINS[0]}" for local in LOCALS])


async def test_nobody_waits_for_another(bed: Bed, service: BedService):
    """Each recipient is taken or refused for good, none for now, and no session stands still."""
    over, replies = threading.Event(), Counter[int]()
    readers = [(recipients, bed, over, replies)] * 6 + [(lookups, bed, over)] * 2
    async with service.session() as http, asyncio.TaskGroup() as group:
        for reader in readers:
            group.create_task(asyncio.to_thread(*reader))
        try:
            await asyncio.gather(*(change(http, domain) for domain in DOMAINS))
        finally:
            over.set()
    assert set(replies) == {250, 550, 554}
    assert sum(replies.values()) > 100
    service.agrees(timeout=10)
