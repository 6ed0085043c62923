"""Refresh and forget, as an administrator asks for them."""

import asyncio

from postfix_mta_sts.mtasts.errors import NoRecordError, StatusError
from postfix_mta_sts.resolver.resolver import Resolver
from tests.support.resolvers import OTHER, looked_up, resolver_in
from tests.support.surroundings import GOOD, Surroundings, found, policy


async def test_refresh_fetches_whatever_is_known() -> None:
    """A GET under the same id; what it brings is on file and in memory."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    await looked_up(resolver)
    around.policies[GOOD] = policy("testing")
    state = await resolver.refresh(GOOD)
    assert state
    assert state.policy == policy("testing")
    assert around.gets[GOOD] == 2
    assert (await looked_up(resolver)) is state


async def test_refresh_waits_for_no_backoff() -> None:
    """An id that failed just now is tried again, and the failure is told."""
    around = Surroundings()
    around.records[GOOD] = found()
    around.policies[GOOD] = StatusError("HTTP 404")
    resolver = resolver_in(around)
    for gets in (1, 2):
        state = await resolver.refresh(GOOD)
        assert state
        assert state.failure
        assert state.failure.code == StatusError.code
        assert around.gets[GOOD] == gets


async def test_refresh_without_a_record() -> None:
    """A policy that is known is fetched all the same, and kept (§10.2)."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    await looked_up(resolver)
    around.records[GOOD] = NoRecordError("NXDOMAIN")
    state = await resolver.refresh(GOOD)
    assert state
    assert state.policy == policy()
    assert around.gets[GOOD] == 2


async def test_refresh_follows_an_attempt_under_way() -> None:
    """It waits for its end, then fetches by itself; where there is no room, it says so."""
    around = Surroundings()
    around.publish()
    around.https.hold()
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=9, attempts=1)
    first = asyncio.create_task(resolver.look_up(GOOD))
    await around.gets.reached(GOOD)
    refreshing = asyncio.create_task(resolver.refresh(GOOD))
    assert await resolver.refresh(OTHER) is None
    around.https.release()
    assert await refreshing is not await first
    assert around.gets[GOOD] == 2


async def test_forget() -> None:
    """Memory, file and history know nothing any more; the next look-up asks the network."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    await looked_up(resolver)
    known = resolver.entry(GOOD)
    assert await resolver.forget(GOOD)
    assert known
    assert known.state is None
    assert resolver.usage.take() == {}
    assert await around.store.row(GOOD) is None
    assert await around.store.history(GOOD) == []
    assert not await resolver.forget(GOOD)
    await looked_up(resolver)
    assert around.gets[GOOD] == 2
