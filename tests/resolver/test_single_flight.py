"""At most one attempt per domain, shared by the look-ups that wait for it."""

import asyncio

import pytest

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.resolver.single_flight import (
    DEFAULT_ORDER,
    NO_RESULT,
    Flight,
    LookupResult,
    Order,
    SingleFlight,
)
from postfix_mta_sts.stats import Source
from tests.support.states import a_state
from tests.support.surroundings import GOOD

OTHER = parse_domain("other.test")
FOUND = LookupResult(a_state(), Source.NETWORK)


class Runs:
    """Attempts that publish a state when they are released."""

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
        flight.publish(a_state(), Source.NETWORK)


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
    assert first.wait() is first.wait()
    runs.released.set()
    assert await first.wait() == FOUND
    await runs.flights.wait_for_end(GOOD)
    assert (runs.flights.get(GOOD), len(runs.flights), runs.ended) == (None, 0, [first])
    assert runs.started == [(GOOD, DEFAULT_ORDER)]


async def test_the_attempt_limit() -> None:
    """At the limit no further attempt starts; the one under way is still shared."""
    runs = Runs(limit=1)
    first = runs.flights.start(GOOD)
    assert runs.flights.start(OTHER) is None
    assert runs.flights.start(GOOD) is first
    await runs.flights.close()


async def test_late_look_ups_get_the_fallback() -> None:
    """Look-ups that come after the lookup timeout do not wait; the attempt continues to its end."""
    runs = Runs(timeout=0.01)
    flight = started(runs.flights.start(GOOD))
    assert await flight.wait() == NO_RESULT
    late = flight.wait()
    assert late.done()
    fallback = LookupResult(a_state(), Source.STORE)
    flight.offer(fallback)
    assert await flight.wait() == fallback
    runs.released.set()
    await runs.flights.wait_for_end(GOOD)
    assert flight.state == a_state()


async def test_a_fallback_is_given_at_the_timeout() -> None:
    """A result offered before the timeout is what waiting look-ups get then."""
    runs = Runs(timeout=0.01)
    flight = started(runs.flights.start(GOOD))
    fallback = LookupResult(a_state(), Source.STORE)
    flight.offer(fallback)
    assert await flight.wait() == fallback
    await runs.flights.close()


async def test_without_look_ups_there_is_no_timeout() -> None:
    """A renewal, for which no look-up waits, may take any time."""
    runs = Runs(timeout=0)
    flight = started(runs.flights.start(GOOD))
    await later_than_the_timeout()
    assert not flight.result.done()
    assert not flight.wanted
    runs.released.set()
    assert await flight.result == FOUND


async def test_a_result_before_the_timeout_stays() -> None:
    """Look-ups that come after the lookup timeout get the published state, not the fallback."""
    runs = Runs(timeout=0)
    flight = started(runs.flights.start(GOOD))
    early = flight.wait()
    flight.publish(a_state(), Source.NETWORK)
    await later_than_the_timeout()
    assert await early == FOUND
    assert await flight.wait() == FOUND
    await runs.flights.close()


@pytest.mark.parametrize("steps", range(3))
async def test_close(steps: int) -> None:
    """Waiting look-ups get no result, however far the attempt has come."""
    runs = Runs()
    waiting = started(runs.flights.start(GOOD)).wait()
    for _ in range(steps):
        await asyncio.sleep(0)
    await runs.flights.close()
    assert waiting.done()
    assert await waiting == NO_RESULT
    assert len(runs.ended) == 1
