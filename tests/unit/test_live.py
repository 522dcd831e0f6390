"""When a renamed users file is live, with a clock and a Dovecot that the tests move."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from mailapi.errors import DovecotStale
from mailapi.live import Live, Witness

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"


class Clock:
    """Stands still until `to`; then wakes the sleepers in their order."""

    def __init__(self, now: float = 1000.3) -> None:
        self.now = now
        self.slept = 0.0  # without what was put back
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.slept + seconds, id(woken), woken))
        await woken

    async def to(self, when: float) -> None:
        await settle()
        end = self.slept + when - self.now
        while self._sleepers and self._sleepers[0][0] <= end:
            wakes, _, woken = heapq.heappop(self._sleepers)
            self._move(max(wakes, self.slept))
            if not woken.done():
                woken.set_result(None)
            await settle()
        self._move(end)

    def put_back(self, seconds: float) -> None:
        self.now -= seconds

    def _move(self, slept: float) -> None:
        self.now += slept - self.slept
        self.slept = slept


async def settle() -> None:
    """Let everything run that does not wait for the clock."""
    for _ in range(30):
        await asyncio.sleep(0)


class Dovecot:
    """Looks at the file on the first lookup of each second, as db-passwd-file.c does."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.files: list[dict[str, int]] = [{}]  # one after each rename
        self.read = 0  # which of them it has
        self.looked = 0
        self.asked: list[tuple[float, str]] = []
        self.fault: str | None = None
        self.blind = False
        self.latency = 0.0

    def publish(self, **lines: int | None) -> Witness:
        """Rename a file with changed lines (None: removed) over the old; the last is the witness.

        A line's number is its generation; the names are local parts.
        """
        file = dict(self.files[-1])
        for local, generation in lines.items():
            file.pop(f"{local}@example.com", None)
            if generation is not None:
                file[f"{local}@example.com"] = generation
        self.files.append(file)
        return Witness(f"{local}@example.com", len(self.files) - 1, generation is not None)

    def log_in(self) -> int:
        """A lookup; which file it was answered from."""
        if self.looked != int(self.clock()):
            self.looked = int(self.clock())
            self.read = self.read if self.blind else len(self.files) - 1
        return self.read

    def would_see(self) -> int:
        """Which file a lookup would be answered from now."""
        same = self.looked == int(self.clock())
        return self.read if same or self.blind else len(self.files) - 1

    async def ask(self, address: str) -> int | None:
        self.asked.append((self.clock(), address))
        if self.latency:
            await self.clock.sleep(self.latency)
        else:
            await asyncio.sleep(0)
        if self.fault:
            raise DovecotStale(self.fault)
        return self.files[self.log_in()].get(address)


class Bed:
    def __init__(self, now: float = 1000.3, interval: float = 1) -> None:
        self.clock = Clock(now)
        self.dovecot = Dovecot(self.clock)
        self.live = Live(self.dovecot, interval, self.clock, self.clock.sleep)  # type: ignore[arg-type]  # the fake

    def seen(self, witness: Witness | None) -> asyncio.Task[None]:
        return asyncio.create_task(self.live.seen(witness))

    @property
    def questions(self) -> list[str]:
        return [address for _, address in self.dovecot.asked]

    async def shown(self, **lines: int | None) -> None:
        """Publish, and wait until it is live."""
        task = self.seen(self.dovecot.publish(**lines))
        await self.clock.to(self.clock() + 1.1)
        assert state(task) == "live"


def state(task: asyncio.Task[None]) -> str:
    if not task.done():
        return "waits"
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    if error is None:
        return "live"
    assert isinstance(error, DovecotStale)
    assert "/" not in error.msg
    return error.msg


def states(tasks: Iterable[asyncio.Task[None]]) -> list[str]:
    return [state(task) for task in tasks]


# ---------- at once ----------


async def test_a_quiet_dovecot_is_asked_once_and_nothing_waits() -> None:
    """Nobody looked up in this second: the answer has the change, with no wait."""
    bed = Bed()
    await bed.live.seen(bed.dovecot.publish(ann=1))
    assert bed.questions == [ANN]
    assert bed.clock.slept == 0


async def test_a_removal_is_seen_at_once_too() -> None:
    """NOTFOUND is proof where no other rename was in this second."""
    bed = Bed()
    await bed.shown(ann=1)
    await bed.clock.to(1002.3)
    before = bed.clock.slept
    await bed.live.seen(bed.dovecot.publish(ann=None))
    assert bed.clock.slept == before


async def test_without_dovecot_nothing_waits() -> None:
    """With an interval of 0 nobody is asked."""
    bed = Bed(interval=0)
    await bed.live.seen(bed.dovecot.publish(ann=1))
    await bed.live.seen(None)
    assert (bed.questions, bed.clock.slept) == ([], 0)


# ---------- in the next second ----------


async def test_a_busy_dovecot_is_asked_again_in_the_next_second() -> None:
    """A log-in pinned the old file: not live before the next second, then at once."""
    bed = Bed(1000.3)
    bed.dovecot.log_in()
    task = bed.seen(bed.dovecot.publish(ann=1))
    await bed.clock.to(1000.9999)
    assert state(task) == "waits"
    await bed.clock.to(1001.003)
    assert state(task) == "live"
    assert bed.questions == [ANN, ANN]


async def test_all_of_a_second_share_one_question() -> None:
    """Fifty renames in one second: one question at once, one in the next second, for all."""
    bed = Bed(1000.2)
    tasks = []
    bed.dovecot.log_in()
    for number in range(1, 51):
        tasks.append(bed.seen(bed.dovecot.publish(**{f"u{number}": number})))
        await bed.clock.to(bed.clock() + 0.01)
    assert set(states(tasks)) == {"waits"}
    await bed.clock.to(1001.003)
    assert set(states(tasks)) == {"live"}
    assert bed.questions == ["u1@example.com", "u50@example.com"]


async def test_our_own_question_pins_the_second() -> None:
    """After an immediate success the next rename of that second waits for the next, unasked."""
    bed = Bed(1000.2)
    await bed.live.seen(bed.dovecot.publish(ann=1))
    task = bed.seen(bed.dovecot.publish(bob=2))
    await bed.clock.to(1000.99)
    assert state(task) == "waits"
    assert bed.questions == [ANN]
    await bed.clock.to(1001.003)
    assert state(task) == "live"
    assert bed.questions == [ANN, BOB]


async def test_a_late_rename_is_not_answered_for_by_an_earlier_question() -> None:
    """A rename while the question is under way is not live with its answer."""
    bed = Bed(1000.2)
    bed.dovecot.latency = 0.01
    first = bed.seen(bed.dovecot.publish(ann=1))
    await bed.clock.to(1000.205)
    bed.dovecot.log_in()
    second = bed.seen(bed.dovecot.publish(bob=2))
    await bed.clock.to(1000.5)
    assert states([first, second]) == ["live", "waits"]
    await bed.clock.to(1001.1)
    assert state(second) == "live"


# ---------- NOTFOUND ----------


async def test_a_missing_user_is_no_proof_while_a_rename_is_open() -> None:
    """The file before the last but one lacks the user too: its NOTFOUND must not count at once."""
    bed = Bed(1000.99)
    await bed.shown(bob=1)
    await bed.clock.to(1002.5)
    bed.dovecot.log_in()  # pins a file without ann
    added = bed.seen(bed.dovecot.publish(ann=2))
    await bed.clock.to(1002.6)
    removed = bed.seen(bed.dovecot.publish(bob=3, ann=None))
    await bed.clock.to(1002.99)
    assert states([added, removed]) == ["waits", "waits"]
    assert bed.dovecot.would_see() == 1, "bob's old line is still in force"
    await bed.clock.to(1003.1)
    assert states([added, removed]) == ["live", "live"]


@pytest.mark.parametrize("told", [False, True])
async def test_a_rename_that_was_not_shown_holds_removals_back(told: bool) -> None:
    """After a start, or a rename without a witness, NOTFOUND counts only in a later second."""
    bed = Bed(1000.2)
    if told:
        await bed.shown(bob=1)
    bed.dovecot.log_in()
    tasks = [bed.seen(None)] if told else []
    bed.dovecot.publish(ann=2)
    witness = bed.dovecot.publish(ann=None)
    tasks.append(bed.seen(witness))
    await bed.clock.to(int(bed.clock()) + 0.99)
    assert set(states(tasks)) == {"waits"}
    await bed.clock.to(bed.clock() + 0.1)
    assert set(states(tasks)) == {"live"}
    assert bed.questions[-1] == ANN


async def test_a_rename_without_a_witness_answers_for_those_before() -> None:
    """It may have removed any user: in the next second it is live, and so are they."""
    bed = Bed(1000.5)
    bed.dovecot.log_in()
    tasks = [bed.seen(bed.dovecot.publish(ann=1))]
    bed.dovecot.publish(ann=None)
    tasks.append(bed.seen(None))
    await bed.clock.to(1000.99)
    assert states(tasks) == ["waits", "waits"]
    await bed.clock.to(1001.1)
    assert states(tasks) == ["live", "live"]


async def test_an_older_generation_again_is_no_proof() -> None:
    """A file published anew, whose line is as before, is live in the next second only."""
    bed = Bed(1000.2)
    await bed.shown(ann=1)
    await bed.clock.to(1003.2)
    bed.dovecot.log_in()
    bed.dovecot.publish(ann=1)
    task = bed.seen(Witness(ANN, 1, True))
    await bed.clock.to(1003.9)
    assert state(task) == "waits"
    await bed.clock.to(1004.1)
    assert state(task) == "live"


# ---------- later changes of the same address ----------


async def test_a_later_removal_supersedes() -> None:
    """The address of one call is removed by the next: both are live, neither fails."""
    bed = Bed(1000.5)
    bed.dovecot.log_in()
    tasks = [bed.seen(bed.dovecot.publish(ann=1)), bed.seen(bed.dovecot.publish(ann=None))]
    await bed.clock.to(1001.1)
    assert states(tasks) == ["live", "live"]


async def test_a_user_added_again_supersedes() -> None:
    """Removed and added again with a newer generation: the removal is live."""
    bed = Bed(1000.5)
    await bed.shown(ann=1)
    bed.dovecot.log_in()
    tasks = [bed.seen(bed.dovecot.publish(ann=None)), bed.seen(bed.dovecot.publish(ann=3))]
    await bed.clock.to(bed.clock() + 1.1)
    assert states(tasks) == ["live", "live"]


async def test_a_removal_before_the_question_supersedes() -> None:
    """The user is removed in the very first moment of the next second: nobody waits longer."""
    bed = Bed(1000.5)
    bed.dovecot.log_in()
    tasks = [bed.seen(bed.dovecot.publish(ann=1))]
    await bed.clock.to(1001.0)
    tasks.append(bed.seen(bed.dovecot.publish(ann=None)))
    await bed.clock.to(1001.1)
    assert states(tasks)[0] == "live"
    await bed.clock.to(1002.1)
    assert states(tasks)[1] == "live"


async def test_a_user_added_again_unknown_to_us_supersedes() -> None:
    """The line is there again, with a newer generation, before its own call: removed it was."""
    bed = Bed(1000.5)
    await bed.shown(ann=1)
    bed.dovecot.log_in()
    task = bed.seen(bed.dovecot.publish(ann=None))
    bed.dovecot.publish(ann=3)
    await bed.clock.to(bed.clock() + 1.1)
    assert state(task) == "live"
    assert Witness(ANN, 2, False).shows(2) is False


async def test_the_witness_of_a_cancelled_call_still_counts() -> None:
    """The publish that removed the address was waited for by nobody; the earlier call is live."""
    bed = Bed(1000.5)
    bed.dovecot.log_in()
    first = bed.seen(bed.dovecot.publish(ann=1))
    second = bed.seen(bed.dovecot.publish(ann=None))
    await settle()
    second.cancel()
    await bed.clock.to(1001.1)
    assert states([first, second]) == ["live", "cancelled"]


async def test_removals_in_the_first_moment_of_every_second() -> None:
    """Each second, before the question, a publish removes the user it is about: nobody fails.

    Its call comes only after the question, so that no other witness is known. For three seconds.
    """
    bed = Bed(1000.5)
    bed.dovecot.log_in()
    tasks = [bed.seen(bed.dovecot.publish(u0=1))]
    late = None
    for number in range(1, 4):
        await bed.clock.to(1000.0 + number)
        if late:  # told as late as can be; then one more, of whose removal nobody tells yet
            tasks.append(bed.seen(late))
        late = bed.dovecot.publish(**{f"u{number - 1}": None, f"u{number}": 2 * number + 1})
        bed.dovecot.log_in()
        await bed.clock.to(1000.5 + number)
        late = Witness(late.address, late.generation, True)
    await bed.clock.to(1004.5)
    tasks.append(bed.seen(late))
    await bed.clock.to(1005.5)
    assert set(states(tasks)) == {"live"}


# ---------- Dovecot does not answer, or not as it should ----------


async def test_no_answer_fails_those_who_wait_and_no_later_ones() -> None:
    """The userdb's own message reaches every caller; after it things go on."""
    bed = Bed(1000.5)
    bed.dovecot.fault = "start it"
    tasks = [bed.seen(bed.dovecot.publish(ann=1)), bed.seen(bed.dovecot.publish(bob=2))]
    await bed.clock.to(1000.6)
    assert states(tasks) == ["start it", "start it"]
    bed.dovecot.fault = None
    await bed.shown(eve=3)


@pytest.mark.parametrize("known", [{}, {"ann": 1}])
async def test_a_dovecot_that_reads_another_file_is_found_out(known: dict[str, int]) -> None:
    """After three looks in three later seconds the callers are told what to compare."""
    bed = Bed(1000.5)
    bed.dovecot.files[0] = {f"{name}@example.com": 1 for name in known}
    bed.dovecot.blind = True
    task = bed.seen(Witness(ANN, 5, True))
    await bed.clock.to(1002.9)
    assert state(task) == "waits"
    await bed.clock.to(1003.1)
    assert "another users file" in state(task)
    assert len(bed.questions) == 4


@pytest.mark.parametrize(("known", "seconds"), [(True, 3), (False, 12)])
async def test_it_is_found_out_under_load_too(known: bool, seconds: int) -> None:
    """New calls do not put the failure off, or, where they may be the reason, not for ever."""
    bed = Bed(1000.5)
    bed.dovecot.blind = True
    names = [f"u{number}" for number in range(10)]
    if known:
        bed.dovecot.files[0] = {f"{name}@example.com": 0 for name in names}
    tasks = []
    for number in range(1, 10 * seconds):
        tasks.append(bed.seen(bed.dovecot.publish(**{names[number % 10]: number})))
        await bed.clock.to(bed.clock() + 0.1)
    assert "another users file" in state(tasks[0])
    assert "waits" in state(tasks[-1])
    await bed.live.close()
    await settle()


async def test_a_failed_question_is_no_failure_of_a_later_call() -> None:
    """A call that comes while the question is under way gets a question of its own."""
    bed = Bed(1000.5)
    bed.dovecot.latency = 0.01
    bed.dovecot.fault = "start it"
    tasks = [bed.seen(bed.dovecot.publish(ann=1))]
    await bed.clock.to(1000.505)
    tasks.append(bed.seen(bed.dovecot.publish(bob=2)))
    await bed.clock.to(1000.6)
    assert states(tasks) == ["start it", "waits"]
    bed.dovecot.fault = None
    await bed.clock.to(1001.1)
    assert state(tasks[1]) == "live"


async def test_a_fault_of_ours_hangs_nobody() -> None:
    """Any other exception is logged, and ends the waits."""
    bed = Bed(1000.5)
    bed.dovecot.files[-1] = None  # type: ignore[call-overload]  # a fault of the test's own
    with capture_logs() as logs, pytest.raises(DovecotStale, match="log"):
        await bed.live.seen(Witness(ANN, 1, True))
    assert logs[0]["log_level"] == "error"


# ---------- callers, the clock, the end ----------


async def test_a_cancelled_caller_disturbs_nobody() -> None:
    """Whether it waits for the answer or for the second, the others become live."""
    bed = Bed(1000.5)
    bed.dovecot.latency = 0.01
    tasks = [bed.seen(bed.dovecot.publish(**{f"u{n}": n})) for n in range(1, 7)]
    await bed.clock.to(1000.505)
    tasks[0].cancel()
    await bed.clock.to(1000.6)
    tasks[3].cancel()
    tasks[5].cancel()
    await bed.clock.to(1001.1)
    assert {state(tasks[n]) for n in (1, 2, 4)} == {"live"}


@pytest.mark.parametrize("back", [0.4, 1.0, 5.0, 3600.0])
@pytest.mark.parametrize("removed", [False, True])
async def test_a_clock_put_back_ends_in_time(back: float, removed: bool) -> None:
    """An NTP step neither hangs a caller nor makes it live too early."""
    bed = Bed(1000.5)
    await bed.shown(ann=1)
    await bed.clock.to(1002.5)
    bed.dovecot.log_in()
    last = bed.dovecot.publish(bob=2)
    if removed:
        bed.seen(last)
        last = bed.dovecot.publish(ann=None)
    task = bed.seen(last)
    await bed.clock.to(1002.6)
    bed.clock.put_back(back)
    for _ in range(35):
        await bed.clock.to(bed.clock() + 0.1)
        if task.done():
            assert bed.dovecot.would_see() == last.generation
            break
    assert state(task) == "live"


async def test_a_clock_that_never_moves_on_ends_too() -> None:
    """A clock put back again and again is no reason to wait for ever."""
    bed = Bed(1000.5)
    bed.dovecot.blind = True
    task = bed.seen(bed.dovecot.publish(ann=1))
    for _ in range(40):
        await bed.clock.to(bed.clock() + 0.5)
        bed.clock.put_back(0.5)
    assert "clock" in state(task)


@pytest.mark.parametrize("begun", [False, True])
async def test_close_ends_all_waits(begun: bool) -> None:
    """No caller hangs, not even one that had not begun to wait."""
    bed = Bed(1000.5)
    bed.dovecot.log_in()
    tasks = [bed.seen(bed.dovecot.publish(ann=1)), bed.seen(bed.dovecot.publish(bob=2))]
    await asyncio.sleep(0)
    if begun:
        await settle()
    await bed.live.close()
    await settle()
    assert all("ended" in state(task) for task in tasks)
    await Live(None, 1).close()


@pytest.mark.parametrize(("interval", "wakes"), [(1, 1001), (2, 1002), (0.5, 1000.5)])
async def test_without_a_userdb_the_interval_is_waited_for(interval: float, wakes: float) -> None:
    """From the beginning of the current second on, and a moment more."""
    clock = Clock(1000.3)
    live = Live(None, interval, clock, clock.sleep)
    task = asyncio.create_task(live.seen(Witness(ANN, 1, True)))
    await clock.to(wakes)
    assert state(task) == "waits"
    await clock.to(wakes + 0.1)
    assert state(task) == "live"


# ---------- anything in any order ----------

LOCALS = ("ann", "bob", "eve")
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0.0005, 0.002, 0.05, 0.3, 0.999, 1.0]),  # seconds after the one before
        st.sampled_from(["log in", "publish", "publish", "publish", "cancel"]),
        st.lists(st.sampled_from(LOCALS), min_size=1, max_size=3, unique=True),
        st.integers(0, 7),  # which of them are removed
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.sampled_from([1000.0, 1000.3, 1000.9985]), st.sampled_from([0, 0.0003, 0.01]))
def test_nobody_is_told_live_too_early_or_fails(
    steps: list[tuple[float, str, list[str], int]], begin: float, latency: float
) -> None:
    """Whatever is published, logged in and cancelled when: live is true when told, and soon told.

    Soon is the next second; the one after, if the very first lookup there has a removal more.
    """
    asyncio.run(simulated(steps, begin, latency))


async def simulated(
    steps: list[tuple[float, str, list[str], int]], begin: float, latency: float
) -> None:
    bed = Bed(begin)
    bed.dovecot.latency = latency
    told: list[asyncio.Task[None]] = []
    for wait, kind, locals_, number in steps:
        await bed.clock.to(bed.clock() + wait)
        if kind == "log in":
            bed.dovecot.log_in()
        elif kind == "cancel" and told:
            told[number % len(told)].cancel()
        elif kind == "publish":
            told.append(asyncio.create_task(published(bed, locals_, number)))
    while not all(task.done() for task in told):
        await bed.clock.to(bed.clock() + 0.5)
    for result in await asyncio.gather(*told, return_exceptions=True):
        assert result is None or isinstance(result, asyncio.CancelledError), result


async def published(bed: Bed, locals_: list[str], removed: int) -> None:
    """Publish the next generation and wait until it is live; check that it is."""
    generation = len(bed.dovecot.files)
    lines: dict[str, int | None] = dict.fromkeys(locals_, generation)
    for number, local in enumerate(locals_):
        if removed >> number & 1:
            lines[local] = None
            if f"{local}@example.com" not in bed.dovecot.files[-1]:
                del lines[local]  # nothing changes
    if lines:
        witness, begun = bed.dovecot.publish(**lines), bed.clock.slept
        await bed.live.seen(witness)
        assert bed.dovecot.would_see() >= generation
        assert bed.clock.slept - begun < 2.1
