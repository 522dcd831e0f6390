"""When a real Dovecot acts on a users file just renamed, and who tells."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from bed import Bed, poll

from mailapi import files
from mailapi.errors import DovecotStale
from mailapi.live import Live, Witness
from mailapi.userdb import Userdb

pytestmark = pytest.mark.peers
ANN, BOB = "ann@example.com", "bob@example.com"
_generations = itertools.count(1)


class Asked(Userdb):
    """Remembers the questions."""

    questions = 0

    async def ask(self, address: str) -> int | None:
        self.questions += 1
        return await super().ask(address)


class Users:
    """The users file of a bed, and the service's part around it."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.path = bed.config.dovecot.directory / "users"
        self.socket = bed.config.dovecot.userdb_socket
        assert self.socket
        self.userdb = Asked(self.socket)
        self.live = Live(self.userdb, 1)
        self.lines: dict[str, tuple[str, int]] = {}

    def publish(self, **passwords: str | None) -> Witness:
        """Change users of example.com, by local part (None: removed); the last is the witness."""
        self.generation = next(_generations)
        for local, password in passwords.items():
            address = f"{local}@example.com"
            self.lines.pop(address, None)
            if password is not None:
                self.lines[address] = (password, self.generation)
        text = "".join(
            f"{address}:{{PLAIN}}{password}::::::userdb_mailapi_generation={generation:04}\n"
            for address, (password, generation) in sorted(self.lines.items())
        )
        files.write(self.path, text.encode(), new_mtime=True)
        return Witness(address, self.generation, address in self.lines)

    async def logs_in(self, *passwords: str, local: str = "ann") -> list[bool]:
        """With each password; at once, because a refusal is told up to half a second later."""
        address = f"{local}@example.com"
        tries = (asyncio.to_thread(self.bed.logs_in, address, word) for word in passwords)
        return await asyncio.gather(*tries)

    def served_by(self) -> str | None:
        """The process id of the auth process that a new connection gets, None while there is none.

        The connection is closed again.
        """
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.connect(str(self.socket))
            return client.makefile().readlines(20)[1].split()[1]
        return None


@pytest.fixture(scope="module")
def own_bed() -> Iterator[Bed]:
    """Not the one that other tests share: its users file is ours."""
    with Bed() as bed:
        yield bed


@pytest.fixture
async def users(own_bed: Bed) -> AsyncIterator[Users]:
    users = Users(own_bed)
    users.publish(bob="x")
    yield users
    await users.live.close()


async def early() -> None:
    """Wait for a moment from which 0.4 seconds are left of the second."""
    if time.time() % 1 > 0.6:
        await next_second()


async def next_second() -> None:
    await asyncio.sleep(1.002 - time.time() % 1)


@contextlib.asynccontextmanager
async def load(path: Path) -> AsyncIterator[None]:
    """Lookups all the time."""

    async def ask() -> None:
        while True:
            await Userdb(path).ask(BOB)
            await asyncio.sleep(0.002)

    task = asyncio.create_task(ask())
    try:
        yield
        assert not task.done(), "there was load to the end"
    finally:
        task.cancel()
        await asyncio.wait([task])


# ---------- the userdb ----------


async def test_the_userdb_answers(users: Users) -> None:
    """A generation, none, no user; also for an address of all sorts of signs."""
    users.publish(ann="secret-0")
    odd = "_x-y.z-9@example.com"
    with users.path.open("a") as file:
        file.write("eve@example.com:{PLAIN}x::::::\n")
        file.write(f"{odd}:{{PLAIN}}x::::::userdb_mailapi_generation=12\n")
    await next_second()
    assert await users.userdb.ask(ANN) == users.generation
    assert await users.userdb.ask("eve@example.com") == 0
    assert await users.userdb.ask(odd) == 12
    assert await users.userdb.ask("nobody@example.com") is None


async def test_the_userdb_knows_what_log_ins_know_after_a_reload(users: Users) -> None:
    """The old auth process lives on while somebody is connected to it; it is not the one asked."""
    await users.live.seen(users.publish(ann="secret-1"))
    with socket.socket(socket.AF_UNIX) as stays:
        stays.connect(str(users.socket))
        old = users.served_by()
        users.bed.doveadm("reload")
        await asyncio.to_thread(
            poll, lambda: users.served_by() not in (None, old), what="a new auth process"
        )
        await next_second()
        assert await users.logs_in("secret-1") == [True], "pins the second"
        after = users.publish(ann="secret-2").generation
        assert await users.userdb.ask(ANN) == after - 1
        assert await users.logs_in("secret-1", "secret-2") == [True, False]


# ---------- live ----------


async def test_a_quiet_dovecot_shows_a_change_at_once(users: Users) -> None:
    """One question, in the same second, answers for a new user, a new password, a removal."""
    users.publish(ann=None)
    await next_second()  # from now on nobody looks up but we
    for password, old in (("secret-1", "secret-0"), ("secret-2", "secret-1"), (None, "secret-2")):
        before, second = users.userdb.questions, int(time.time())
        await users.live.seen(users.publish(ann=password))
        assert users.userdb.questions == before + 1
        assert int(time.time()) == second
        assert await users.logs_in(old, password or "x") == [False, password is not None]
        await next_second()


@pytest.mark.slow
@pytest.mark.parametrize(("waits", "rounds"), [(True, 20), (False, 5)])
async def test_a_changed_password_under_load(users: Users, waits: bool, rounds: int) -> None:
    """When told live the old password is refused and the new one taken; without the wait not."""
    await users.live.seen(users.publish(ann="secret-00", bob="x"))
    results = []
    assert users.socket
    async with load(users.socket):
        for number in range(rounds):
            await early()
            old, new = f"secret-{number:02}", f"secret-{number + 1:02}"
            assert await users.logs_in(old) == [True], "pins the second"
            witness = users.publish(ann=new)
            if waits:
                await users.live.seen(witness)
            results.append(await users.logs_in(old, new))
            if not waits:
                await next_second()
    assert results == [[False, True] if waits else [True, False]] * rounds


async def test_many_at_once_share_the_questions(users: Users) -> None:
    """Thirty changes under load become live with at most two questions a second for all of them."""
    users.publish(bob="x", **{f"u{number}": "old" for number in range(30)})
    await next_second()
    assert users.socket
    async with load(users.socket):
        await next_second()
        assert await users.logs_in("x", local="bob") == [True], "pins the second"
        begin, calls = int(time.time()), []
        for number in range(30):
            witness = users.publish(**{f"u{number}": "new" if number % 3 else None})
            calls.append(asyncio.create_task(users.live.seen(witness)))
            await asyncio.sleep(0.005)
        await asyncio.gather(*calls)
    assert users.userdb.questions <= 2 * (1 + int(time.time()) - begin)
    tries = (users.logs_in("old", "new", local=f"u{number}") for number in range(30))
    for number, result in enumerate(await asyncio.gather(*tries)):
        assert result == [False, bool(number % 3)]


@pytest.mark.parametrize("password", ["secret-9", None])
async def test_another_file_is_found_out(users: Users, tmp_path: Path, password: str) -> None:
    """If Dovecot does not read what we write, no change is told live."""
    await users.live.seen(users.publish(ann="secret-1"))
    users.path = tmp_path / "users"
    with pytest.raises(DovecotStale, match="another users file"):
        await users.live.seen(users.publish(ann=password))


async def test_without_a_userdb_the_next_second_is_waited_for(users: Users) -> None:
    """Where nobody can be asked, log-ins are right all the same."""
    live = Live(None, 1)
    await users.live.seen(users.publish(ann="secret-0"))
    for number in range(3):
        await early()
        old, new = f"secret-{number}", f"secret-{number + 1}"
        assert await users.logs_in(old) == [True], "pins the second"
        await live.seen(users.publish(ann=new))
        assert await users.logs_in(old, new) == [False, True]
