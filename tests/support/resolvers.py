"""A resolver in its surroundings, and what tests do with it."""

import asyncio

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.resolver.resolver import Resolver
from tests.support.surroundings import GOOD, Surroundings

OTHER = parse_domain("other.test")


def resolver_in(around: Surroundings, *, timeout: float = 30, entries: int = 100) -> Resolver:
    """A resolver in these surroundings."""
    return Resolver(around.sources(), lookup_timeout=timeout, entries=entries)


async def looked_up(resolver: Resolver, domain: Domain = GOOD) -> State:
    """The state that a look-up gets, in time."""
    state = await resolver.look_up(domain)
    assert state is not None
    return state


async def settled(resolver: Resolver, domain: Domain = GOOD) -> None:
    """Wait for the end of the attempt under way, if there is one."""
    if flight := resolver._flights.get(domain):
        await asyncio.wait([flight.task])
