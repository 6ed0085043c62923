"""`refresh` and `forget`, which administrators call."""

import asyncio

from postfix_mta_sts.mtasts.errors import NoRecordError, StatusError
from tests.support.resolvers import OTHER, find_state, look_up, make_resolver
from tests.support.surroundings import GOOD, Surroundings, found, policy


async def test_refresh_fetches_even_under_the_same_id() -> None:
    """The new policy is stored and cached."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    await look_up(resolver)
    around.policies[GOOD] = policy("testing")
    state = await resolver.refresh(GOOD)
    assert state
    assert state.policy == policy("testing")
    assert around.gets[GOOD] == 2
    assert (await look_up(resolver)) is state


async def test_refresh_ignores_the_back_off() -> None:
    """An id whose fetch has just failed is tried again, and the failure is in the state."""
    around = Surroundings()
    around.records[GOOD] = found()
    around.policies[GOOD] = StatusError("HTTP 404")
    resolver = make_resolver(around)
    for gets in (1, 2):
        state = await resolver.refresh(GOOD)
        assert state
        assert state.failure
        assert state.failure.code == StatusError.code
        assert around.gets[GOOD] == gets


async def test_refresh_without_a_txt_record() -> None:
    """A known policy is fetched even so, and stays cached (§10.2)."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    await look_up(resolver)
    around.records[GOOD] = NoRecordError("NXDOMAIN")
    state = await resolver.refresh(GOOD)
    assert state
    assert state.policy == policy()
    assert around.gets[GOOD] == 2


async def test_refresh_follows_an_attempt_under_way() -> None:
    """It waits for that attempt, then fetches; at the attempt limit it returns None."""
    around = Surroundings()
    around.publish()
    around.https.hold()
    resolver = make_resolver(around, attempts=1)
    first = asyncio.create_task(find_state(resolver, GOOD))
    await around.gets.reached(GOOD)
    refresh = asyncio.create_task(resolver.refresh(GOOD))
    assert await resolver.refresh(OTHER) is None
    around.https.release()
    assert await refresh is not await first
    assert around.gets[GOOD] == 2


async def test_forget() -> None:
    """The domain is removed from cache, store and history; the next look-up uses the network."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    await look_up(resolver)
    entry = resolver.entry(GOOD)
    assert await resolver.forget(GOOD)
    assert entry
    assert entry.state is None
    assert resolver.usage.take() == {}
    assert await around.store.row(GOOD) is None
    assert await around.store.history(GOOD) == []
    assert not await resolver.forget(GOOD)
    await look_up(resolver)
    assert around.gets[GOOD] == 2
