"""The client of Dovecot's userdb protocol, against a listener that misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from mailapi.errors import DovecotStale, Unrenderable
from mailapi.userdb import Userdb

ANN = "ann@example.com"
HELLO = b"VERSION\t1\t1\nSPID\t4711\n"

Answer = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:  # short enough for a socket
        yield Path(name) / "mailapi-userdb"


@contextlib.asynccontextmanager
async def listener(path: Path, *answers: Answer) -> AsyncIterator[list[bytes]]:
    """Answers one connection after the other; yields what was received, a connection each."""
    received: list[bytes] = []
    waiting = iter(answers)
    open_ones: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones[asyncio.current_task()] = writer
        with contextlib.suppress(ConnectionError):
            question = await reader.readuntil(b"\n") + await reader.readuntil(b"\n")
            received.append(question)
            await next(waiting)(question, reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield received
    finally:
        server.close()
        for writer in open_ones.values():
            writer.transport.abort()
        await asyncio.gather(*filter(None, open_ones))


def says(*parts: bytes) -> Answer:
    """Sends the parts in separate packets, and waits until the other end closes."""

    async def answer(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.005)
        await reader.read()

    return answer


async def hangs_up(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HELLO)


async def failure(path: Path, timeout: float = 20) -> str:
    with pytest.raises(DovecotStale) as caught:
        await Userdb(path, timeout).ask(ANN)
    assert str(path) not in caught.value.msg
    assert ANN not in caught.value.msg
    return caught.value.msg


@pytest.mark.parametrize(
    ("answer", "generation"),
    [
        (b"USER\t1\tann@example.com\tmailapi_generation=7\n", 7),
        (b"USER\t1\tann@example.com\tuid=5\tmailapi_generation=12\tquota_rule=*:storage=1M\n", 12),
        (b"USER\t1\tann@example.com\tx_mailapi_generation=3\tuid=5\n", 0),
        (b"USER\t1\tann@example.com\t\n", 0),
        (b"USER\t1\tann@example.com\n", 0),
        (b"NOTFOUND\t1\n", None),
    ],
)
async def test_answers(path: Path, answer: bytes, generation: int | None) -> None:
    """The field's number, 0 without the field, None without the user; the question is exact."""
    async with listener(path, says(HELLO + answer)) as received:
        assert await Userdb(path).ask(ANN) == generation
    assert received == [b"VERSION\t1\t2\nUSER\t1\tann@example.com\tservice=mailapi\n"]


async def test_an_answer_in_pieces(path: Path) -> None:
    """A line that arrives in parts is one line."""
    parts = (HELLO[:5], HELLO[5:14], HELLO[14:] + b"USER\t1\tann@example.com\tmailapi_gen")
    async with listener(path, says(*parts, b"eration=1", b"2\n")):
        assert await Userdb(path, 20).ask(ANN) == 12


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"HTTP/1.0 400 Bad Request\r\n",
        b"USER\t2\tann@example.com\tmailapi_generation=7\n",
        b"NOTFOUND\t2\n",
        b"NOTFOUND\n",
        b"USER\t1\n",
        b"USER\t1\tann@example.com\tmailapi_generation=-1\n",
        b"USER\t1\tann@example.com\tmailapi_generation=\n",
        b"USER\t1\tann@example.com\tmailapi_generation=" + b"9" * 5000 + b"\n",
        b"\xff\xfe\n",
        b"VERSION\t2\t0\n",
        b"VERSION\n",
        b"MECH\tPLAIN\tplaintext\n",
        b"x" * 1_000_000,
    ],
)
async def test_garbage_is_refused(path: Path, garbage: bytes) -> None:
    """What is not the protocol, or answers another question, is never taken for an answer."""
    async with listener(path, says(HELLO + garbage)):
        assert "ends in -userdb" in await failure(path)


async def test_fail_is_no_answer(path: Path) -> None:
    """Dovecot's own failure says where to look."""
    async with listener(path, says(HELLO + b"FAIL\t1\treason=secret\n")):
        assert "its log" in await failure(path)


async def test_silence_ends_at_the_time_limit(path: Path) -> None:
    """A listener that says nothing, or only half a line, is given up."""
    async with listener(path, says(b""), says(HELLO + b"USER\t1\tann@exam")):
        for _ in range(2):
            assert "in time" in await failure(path, 0.1)


async def test_a_listener_that_does_not_accept(path: Path) -> None:
    """A full queue of connections runs into the time limit or an error, and never hangs."""
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        for _ in range(3):
            assert "Dovecot" in await failure(path, 0.1)


async def test_a_late_answer_is_nobodys(path: Path) -> None:
    """After a time-out or a cancellation the next question gets its own answer."""
    release = asyncio.Event()

    async def late(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(HELLO + b"USER\t1\told@example.com\tmailapi_generation=1\n")
        await writer.drain()

    mine = says(HELLO + b"USER\t1\tann@example.com\tmailapi_generation=2\n")
    userdb = Userdb(path, 0.2)
    async with listener(path, late, late, mine, mine) as received:
        with pytest.raises(DovecotStale):
            await userdb.ask("old@example.com")
        cancelled = asyncio.create_task(userdb.ask("old@example.com"))
        while len(received) < 2:
            await asyncio.sleep(0.001)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        release.set()
        assert await userdb.ask(ANN) == 2
        assert await userdb.ask(ANN) == 2


async def test_a_broken_connection_is_tried_once_more(path: Path) -> None:
    """Dovecot may be reloaded between question and answer; twice is a failure."""
    good = says(HELLO + b"NOTFOUND\t1\n")
    async with listener(path, hangs_up, good, hangs_up, hangs_up, good) as received:
        assert await Userdb(path).ask(ANN) is None
        assert "ends the connection" in await failure(path)
        assert len(received) == 4


async def test_a_socket_that_is_away_for_a_moment(path: Path) -> None:
    """Dovecot makes its sockets anew when it is reloaded; that is no failure."""
    question = asyncio.create_task(Userdb(path).ask(ANN))
    await asyncio.sleep(0.01)
    assert not question.done()
    async with listener(path, says(HELLO + b"NOTFOUND\t1\n")):
        assert await question is None


async def test_no_socket(path: Path) -> None:
    """No socket, and one that nobody listens on, both say: start Dovecot."""
    assert "start Dovecot" in await failure(path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert "start Dovecot" in await failure(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody without permission")
async def test_no_permission(path: Path) -> None:
    """A socket of another user says which setting gives it."""
    async with listener(path, says(b"")):
        path.chmod(0o600)
        path.parent.chmod(0o755)
        os.seteuid(12345)
        try:
            assert "`user`" in await failure(path)
        finally:
            os.seteuid(0)


async def test_a_path_too_long_for_a_socket(path: Path) -> None:
    """Any other error of the system is DovecotStale too."""
    assert "Dovecot" in await failure(path.with_name("x" * 200 + "-userdb"))


@pytest.mark.parametrize(
    "address", ["", "a b@example.com", "a\tb@c.d", "a@b.c\nUSER\t2\tx", "ä@b.c"]
)
async def test_only_normal_addresses_are_sent(path: Path, address: str) -> None:
    """Nothing with a meaning in the protocol gets into a question."""
    async with listener(path) as received:
        with pytest.raises(Unrenderable):
            await Userdb(path).ask(address)
    assert received == []


async def test_questions_at_once(path: Path) -> None:
    """Twenty at a time each get their own answer, and no descriptor stays."""

    async def echo(
        question: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        number = question.split(b"\t")[4].split(b"@")[0]
        await asyncio.sleep(0.001 * (int(number) % 3))
        writer.write(HELLO + b"USER\t1\tx\tmailapi_generation=" + number + b"\n")
        await reader.read()

    before = len(list(Path("/proc/self/fd").iterdir()))
    userdb = Userdb(path, 20)
    async with listener(path, *[echo] * 20):
        found = await asyncio.gather(*(userdb.ask(f"{n}@example.com") for n in range(20)))
    assert found == list(range(20))
    while len(list(Path("/proc/self/fd").iterdir())) > before:
        await asyncio.sleep(0.001)
