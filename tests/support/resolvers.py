"""A resolver on fake sources, and what tests do with it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from postfix_mta_sts.mtasts.decision import (
    NOT_APPLICABLE,
    Decision,
    Knowledge,
    Rules,
    decide,
    known_policy,
    known_verdict,
)
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.single_flight import ATTEMPTS_LIMIT
from postfix_mta_sts.stats import Counters
from tests.support.fleet import FakeFleet
from tests.support.surroundings import GOOD, Surroundings

OTHER = parse_domain("other.test")


def make_resolver(
    around: Surroundings,
    *,
    timeout: float = 30,
    entries: int = 100,
    memory: int = 2**30,
    attempts: int = ATTEMPTS_LIMIT,
    counters: Counters | None = None,
) -> Resolver:
    """A resolver on these sources; `timeout` is the lookup timeout."""
    return Resolver(
        around.sources(),
        lookup_timeout=timeout,
        limits=Limits(entries, memory),
        attempts=attempts,
        counters=counters,
    )


def sharing(
    around: Surroundings, fleet: FakeFleet, counters: Counters | None = None, timeout: float = 30
) -> Resolver:
    """A resolver of a relay in this fleet."""
    resolver = make_resolver(around, counters=counters, timeout=timeout)
    resolver.use_fleet(fleet)
    return resolver


async def find_state(resolver: Resolver, domain: Domain) -> State | None:
    """What is known when a look-up of this domain can be answered; None: nothing."""
    if entry := resolver.cached(domain):
        return entry.state

    def is_decided(knowledge: Knowledge) -> bool:
        now = resolver._sources.clock()
        verdict = known_verdict(knowledge, now) if resolver._context.dane_lookup else NOT_APPLICABLE
        decision = decide(known_policy(knowledge, now), verdict, Rules(), time_is_up=False)
        return decision is not Decision.WAIT

    return (await resolver.find(domain, is_decided)).state


async def look_up(resolver: Resolver, domain: Domain = GOOD) -> State:
    """The state that a look-up gets; fails if there is none."""
    state = await find_state(resolver, domain)
    assert state is not None
    return state


async def wait_for_end(resolver: Resolver, domain: Domain = GOOD) -> None:
    """Return when no attempt is under way for this domain."""
    await resolver._flights.wait_for_end(domain)


@contextmanager
def rechecks_paused(resolver: Resolver) -> Iterator[None]:
    """Start no recheck inside the block, as when the rate limit asks for a long pause."""
    queue = resolver._rechecks
    assert queue._timer is None
    queue._timer = asyncio.get_running_loop().call_later(3600, lambda: None)
    yield
    queue._timer.cancel()
    queue._timer = None
    queue.resume()


async def wait_for_all(resolver: Resolver) -> None:
    """Return when no attempt is under way."""
    while resolver.under_way:  # noqa: ASYNC110 (no event to wait for)
        await asyncio.sleep(0)


async def settled() -> None:
    """Let everything happen that waits for nothing but its turn."""
    for _ in range(30):
        await asyncio.sleep(0)
