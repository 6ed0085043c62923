"""At most one attempt per domain, shared by the look-ups that wait for it."""

import asyncio
import logging
import time

import pytest

from postfix_mta_sts.mtasts.decision import NOTHING, Knowledge, PolicyStep, from_memory
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.resolver import single_flight
from postfix_mta_sts.resolver.fairness import Client, Owner
from postfix_mta_sts.resolver.single_flight import (
    DEFAULT_ORDER,
    Flight,
    LookupResult,
    Order,
    SingleFlight,
)
from postfix_mta_sts.stats.labels import Source
from tests.support.states import a_state
from tests.support.surroundings import GOOD

OTHER = parse_domain("other.test")
LATER = parse_domain("later.test")
STATE = a_state()
ALL = from_memory(STATE)
PART = Knowledge(STATE, PolicyStep.ANSWERED, is_asking_dane=True)
FOUND = LookupResult(ALL, Source.NETWORK)


class Runs:
    """Attempts that know everything when they are released."""

    def __init__(self, *, timeout: float = 30, limit: int = 10) -> None:
        self.released = asyncio.Event()
        self.started: list[tuple[Domain, Order]] = []
        self.ended: list[Flight] = []
        self.flights = SingleFlight(
            self._run, self.ended.append, lookup_timeout=timeout, limit=limit
        )

    async def _run(self, domain: Domain, flight: Flight) -> None:
        self.started.append((domain, flight.order))
        await self.released.wait()
        answer(flight, ALL)


def answer(flight: Flight, knowledge: Knowledge) -> None:
    """Do what an attempt does when it knows more."""
    flight.know(knowledge, Source.NETWORK)
    flight.answer()


def started(flight: Flight | None) -> Flight:
    """The flight that was started."""
    assert flight
    return flight


async def later_than_the_timeout() -> None:
    """Return after every timer of at most 10 ms, because timers run in the order of their times."""
    await asyncio.sleep(0.01)


async def test_one_attempt_per_domain() -> None:
    """A second start shares the attempt under way; all look-ups get its result."""
    runs = Runs()
    first = started(runs.flights.start(GOOD))
    assert runs.flights.start(GOOD, Order(force_fetch=True)) is runs.flights.get(GOOD) is first
    waiting = [first.wait() for _ in range(3)]
    runs.released.set()
    assert await asyncio.gather(*waiting) == [FOUND] * 3
    await runs.flights.wait_for_end(GOOD)
    assert (runs.flights.get(GOOD), len(runs.flights), runs.ended) == (None, 0, [first])
    assert runs.started == [(GOOD, DEFAULT_ORDER)]


ONE, TWO = Owner("one"), Owner("two")


async def test_the_attempt_limit() -> None:
    """At the limit the daemon starts no attempt of its own; the one under way is still shared."""
    runs = Runs(limit=1)
    first = runs.flights.start(GOOD)
    assert runs.flights.start(OTHER) is None
    assert runs.flights.start(GOOD) is first
    await runs.flights.close()


async def test_at_the_limit_the_owner_with_most_loses_its_oldest() -> None:
    """Its look-up gets what is known, its attempt is cancelled, and the new one starts."""
    runs = Runs(limit=3)
    names = [parse_domain(f"d{number}.test") for number in range(3)]
    flights = [
        started(runs.flights.start(name, DEFAULT_ORDER, Client(ONE, number)))
        for number, name in enumerate(names)
    ]
    waiting = [flight.wait() for flight in flights]
    flights[0].know(PART, Source.STORE)
    new = started(runs.flights.start(OTHER, DEFAULT_ORDER, Client(TWO, 7))).wait()
    assert await waiting[0] == LookupResult(PART, Source.STORE, time_is_up=True)
    assert [each.done() for each in (*waiting, new)] == [True, False, False, False]
    assert len(runs.flights) == 3
    assert runs.flights.get(names[0]) is None
    runs.released.set()
    assert await new == FOUND
    await runs.flights.close()
    assert flights[0].task.cancelled()
    assert len(runs.ended) == 4


async def test_an_attempt_that_ends_makes_no_room_for_the_daemon() -> None:
    """A recheck that starts when an attempt is given up neither takes its place nor comes twice."""
    runs = Runs(limit=1)
    rechecks: list[Flight | None] = []

    def recheck(_: Flight) -> None:
        runs.flights._on_end = runs.ended.append
        rechecks.extend(runs.flights.start(name, Order(is_recheck=True)) for name in (OTHER, LATER))

    runs.flights._on_end = recheck
    runs.flights.start(GOOD, DEFAULT_ORDER, Client(ONE, 1))
    new = started(runs.flights.start(OTHER, DEFAULT_ORDER, Client(TWO, 2)))
    assert rechecks == [new, None]
    assert len(runs.flights) == 1
    assert runs.flights.get(OTHER) is new
    runs.released.set()
    await runs.flights.wait_for_end(OTHER)


async def test_the_limit_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """A client that fills the attempts again and again causes no line for each time."""
    caplog.set_level(logging.INFO)
    runs = Runs(limit=1)
    runs.released.set()
    for _ in range(3):
        runs.flights.start(GOOD)
        runs.flights.start(OTHER)
        await runs.flights.wait_for_end(GOOD)
        runs.flights.start(GOOD)
        await runs.flights.wait_for_end(GOOD)
    assert [message.partition(" limit=")[0] for message in caplog.messages] == [
        "attempt limit reached, the oldest end for new ones",
        "below the attempt limit again under_way=0",
    ]


async def test_a_connection_has_two_attempts() -> None:
    """A third ends its oldest, unless another client asked for that one, too."""
    runs = Runs()
    names = [parse_domain(f"d{number}.test") for number in range(4)]
    greedy, other = Client(ONE, 1), Client(TWO, 2)
    runs.flights.start(names[0], DEFAULT_ORDER, greedy)
    runs.flights.start(names[1], DEFAULT_ORDER, greedy)
    runs.flights.start(names[1], DEFAULT_ORDER, other)
    runs.flights.start(names[2], DEFAULT_ORDER, greedy)
    assert runs.flights.get(names[0]) is None
    runs.flights.start(names[3], DEFAULT_ORDER, greedy)
    assert all(runs.flights.get(name) for name in names[1:])
    runs.flights.leave(greedy)
    assert len(runs.flights) == 3
    await runs.flights.close()


async def test_an_attempt_that_was_given_up_can_start_again() -> None:
    """The end of the cancelled one does not end the new one."""
    runs = Runs(limit=1)
    runs.flights.start(GOOD, DEFAULT_ORDER, Client(ONE, 1))
    runs.flights.start(OTHER, DEFAULT_ORDER, Client(TWO, 2))
    again = started(runs.flights.start(GOOD, DEFAULT_ORDER, Client(ONE, 1)))
    waiting = again.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    assert runs.flights.get(GOOD) is again
    runs.released.set()
    assert await waiting == FOUND


async def test_each_look_up_decides_what_is_enough() -> None:
    """One is answered by the policy alone, the other when the verdict is there, too."""
    runs = Runs()
    flight = started(runs.flights.start(GOOD))
    early, late = flight.wait(lambda knowledge: knowledge.state is not None), flight.wait()
    answer(flight, PART)
    assert early.done()
    assert not late.done()
    assert flight.wait(lambda knowledge: knowledge.state is not None).done()
    answer(flight, ALL)
    assert (await early, await late) == (LookupResult(PART, Source.NETWORK), FOUND)
    await runs.flights.close()


async def test_a_fault_of_one_look_up() -> None:
    """A function that fails is the fault of its look-up alone; the others are answered."""

    def broken(_: Knowledge) -> bool:
        raise ZeroDivisionError

    runs = Runs()
    flight = started(runs.flights.start(GOOD))
    faulty, good, gone = flight.wait(broken), flight.wait(), flight.wait(broken)
    gone.cancel()
    answer(flight, ALL)
    assert await good == FOUND
    with pytest.raises(ZeroDivisionError):
        await faulty
    await runs.flights.close()


async def test_what_is_only_known_answers_no_look_up() -> None:
    """A policy that is being saved is given at the timeout, or with the next answer."""
    runs = Runs(timeout=0.01)
    flight = started(runs.flights.start(GOOD))
    waiting = flight.wait()
    flight.know(ALL, Source.NETWORK)
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await waiting == LookupResult(ALL, Source.NETWORK, time_is_up=True)
    await runs.flights.close()


async def test_late_look_ups_get_what_is_known() -> None:
    """Look-ups that come after the lookup timeout do not wait; the attempt continues to its end."""
    runs = Runs(timeout=0.01)
    flight = started(runs.flights.start(GOOD))
    assert await flight.wait() == LookupResult(NOTHING, Source.NONE, time_is_up=True)
    flight.know(PART, Source.STORE)
    late = flight.wait()
    assert late.done()
    assert await late == LookupResult(PART, Source.STORE, time_is_up=True)
    runs.released.set()
    await runs.flights.wait_for_end(GOOD)
    assert flight.knowledge == ALL


async def test_without_look_ups_there_is_no_timeout() -> None:
    """A renewal, for which no look-up waits, may take any time."""
    runs = Runs(timeout=0)
    flight = started(runs.flights.start(GOOD))
    await later_than_the_timeout()
    assert not flight.wanted
    runs.released.set()
    await flight.task
    assert await flight.wait() == LookupResult(ALL, Source.NETWORK, time_is_up=True)


async def test_a_look_up_that_fails_disturbs_no_other() -> None:
    """An error in the decision of one look-up ends that one, at once or with a later answer."""
    runs = Runs()

    def broken(knowledge: Knowledge) -> bool:
        raise ZeroDivisionError(knowledge.step)

    flight = started(runs.flights.start(GOOD))
    at_once = flight.wait(broken)
    later = flight.wait(lambda knowledge: knowledge is not NOTHING and broken(knowledge))
    here = flight.wait()
    runs.released.set()
    assert await here == FOUND
    for each in (at_once, later):
        with pytest.raises(ZeroDivisionError):
            await each


async def test_a_cancelled_look_up_disturbs_no_other() -> None:
    """Its client is gone; the others get their answers."""
    runs = Runs()
    flight = started(runs.flights.start(GOOD))
    gone, here = flight.wait(), flight.wait()
    gone.cancel()
    runs.released.set()
    assert await here == FOUND


@pytest.mark.parametrize("steps", range(3))
async def test_close(steps: int) -> None:
    """Waiting look-ups get what is known, however far the attempt has come."""
    runs = Runs()
    waiting = started(runs.flights.start(GOOD)).wait()
    for _ in range(steps):
        await asyncio.sleep(0)
    await runs.flights.close()
    assert waiting.done()
    assert await waiting == LookupResult(NOTHING, Source.NONE, time_is_up=True)
    assert len(runs.ended) == 1


async def test_a_timeout_that_was_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a stop of this process the answers that wait in its sockets still count."""
    monkeypatch.setattr(single_flight, "LATE", 0.05)
    flight = Flight(DEFAULT_ORDER, asyncio.get_running_loop().time() + 0.01)
    look_up = flight.wait()
    time.sleep(0.2)  # noqa: ASYNC251 (this process is stopped)
    await asyncio.sleep(0)
    assert not look_up.done()
    answer(flight, ALL)
    assert await look_up == FOUND


async def test_cancelled_look_ups_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that ask and disconnect leave nothing behind while an attempt takes long."""
    monkeypatch.setattr(single_flight, "WAITING_LIMIT", 100)
    flight = Flight(DEFAULT_ORDER, asyncio.get_running_loop().time() + 3600)
    stays = [flight.wait() for _ in range(10)]
    for _ in range(1_000):
        flight.wait().cancel()
    assert len(flight._waiting) <= 101
    answer(flight, ALL)
    assert [await look_up for look_up in stays] == [FOUND] * 10
    flight.end()
