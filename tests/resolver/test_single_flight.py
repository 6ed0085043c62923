"""One attempt a domain at a time, and those who wait for it."""

import asyncio

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.resolver.cache import StateCache
from postfix_mta_sts.resolver.flight import NO_RESULT, LookupResult
from postfix_mta_sts.resolver.single_flight import SingleFlight
from postfix_mta_sts.resolver.usage import Usage
from postfix_mta_sts.stats import Counters, Source
from tests.support.states import a_state
from tests.support.surroundings import GOOD, Surroundings

OTHER = parse_domain("other.test")


@pytest.fixture
def around() -> Surroundings:
    """Surroundings in which good.test has a policy, and no DNS answers yet."""
    around = Surroundings()
    around.publish()
    around.dns.hold()
    return around


def attempts_in(around: Surroundings, *, timeout: float = 30, limit: int = 10) -> SingleFlight:
    """SingleFlight in these surroundings, with a memory of their own."""
    memory = StateCache(10, lambda _: None)
    return SingleFlight(
        around.sources(), memory, Usage(), Counters(), lookup_timeout=timeout, limit=limit
    )


async def test_one_a_domain(around: Surroundings) -> None:
    """Whoever begins one joins the one under way; all who wait have its answer."""
    attempts = attempts_in(around)
    first = attempts.begin(GOOD)
    assert first
    assert attempts.begin(GOOD) is attempts.of(GOOD) is first
    assert attempts.awaited(first) is attempts.awaited(first)
    around.dns.release()
    found = await attempts.awaited(first)
    assert found.state
    assert found.state.policy == around.policies[GOOD]
    assert found.source is Source.NETWORK
    await attempts.ended(GOOD)
    assert (attempts.of(GOOD), len(attempts)) == (None, 0)


async def test_no_more_than_so_many(around: Surroundings) -> None:
    """One more is not begun; the one under way is there for all."""
    attempts = attempts_in(around, limit=1)
    first = attempts.begin(GOOD)
    assert attempts.begin(OTHER) is None
    assert attempts.begin(GOOD) is first
    await attempts.close()


async def test_nobody_waits_longer_than_that(around: Surroundings) -> None:
    """Nor does who comes later, while the attempt goes on and is remembered in the end."""
    attempts = attempts_in(around, timeout=0.01)
    attempt = attempts.begin(GOOD)
    assert attempt
    assert await attempts.awaited(attempt) == NO_RESULT
    late = attempts.awaited(attempt)
    assert late.done()
    attempt.kept = a_state()  # of which only DANE's verdict is missing
    assert await attempts.awaited(attempt) == LookupResult(a_state(), Source.STORE)
    around.dns.release()
    await attempts.ended(GOOD)
    assert (around.queries.total, around.gets.total) == (1, 1)


async def test_where_nobody_waits_there_is_no_timer(around: Surroundings) -> None:
    """A renewal takes as long as it takes."""
    attempts = attempts_in(around, timeout=0)
    attempt = attempts.begin(GOOD)
    assert attempt
    await asyncio.sleep(0.01)
    assert (attempt.waited_for, attempt.answer.done()) == (None, False)
    around.dns.release()
    assert (await attempt.answer).source is Source.NETWORK
    await attempts.close()


@pytest.mark.parametrize("steps", range(3))
async def test_closed(around: Surroundings, steps: int) -> None:
    """Those who wait are told that nothing is known, however far the attempt has come."""
    attempts = attempts_in(around)
    attempt = attempts.begin(GOOD)
    assert attempt
    waiting = attempts.awaited(attempt)
    for _ in range(steps):
        await asyncio.sleep(0)
    await attempts.close()
    assert waiting.done()
    assert await waiting == NO_RESULT
    assert attempt.waited_for
    assert attempt.waited_for.cancelled()
