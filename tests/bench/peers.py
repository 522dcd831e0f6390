"""How long a mailbox takes to be live where Dovecot has to see it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from load import Service, created, each, mailbox

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import bed as beds  # of the tests

__all__ = ["beds", "crowd", "quiet"]

DOMAIN = {"domain": "d1.example", "active": True, "aliases": 0, "mailboxes": 1000}
DOMAIN |= {"defquota": 1, "maxquota": 1, "quota": 1000}


async def quiet(service: Service) -> list[float]:
    """The seconds of creates that are more than a second apart; the domain comes with them."""
    times = []
    async with service.client() as client:
        await client.request("POST", "/domains", DOMAIN)
        for number in range(15):
            await asyncio.sleep(1.1 + number / 100)  # in another part of the second each time
            body = mailbox(f"q{number}")
            times += await each(1, lambda _, body=body: created(client, "/mailboxes", body))
    return times


async def crowd(service: Service) -> list[float]:
    """The seconds of each create of 16 clients that come at once, five times."""
    times = []
    for turn in range(5):
        await asyncio.sleep(0.1 + turn / 5)
        names = [f"c{turn}-{number}" for number in range(16)]
        for found in await asyncio.gather(*(_one(service, name) for name in names)):
            times += found
    return times


async def _one(service: Service, name: str) -> list[float]:
    async with service.client() as client:
        return await each(1, lambda _: created(client, "/mailboxes", mailbox(name)))
