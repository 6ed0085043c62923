"""The pool of connections to a shared store: limits, time limits of callers, failures."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from postfix_mta_sts.store.fleet.breaker import LONGEST_PAUSE
from postfix_mta_sts.store.fleet.connections import IDLE_LIMIT, Connections
from postfix_mta_sts.store.fleet.errors import NotReachedError

LIMIT = 3
PROBES_WITHIN = 20.0
"""Seconds: a relay makes some call as often."""


class FakeConnection:
    """A connection that says nothing."""

    def __init__(self) -> None:
        self.is_ended = False

    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self.is_ended

    def terminate(self) -> None:
        """End it."""
        self.is_ended = True


class FakeStore:
    """A store that opens connections when the test lets it."""

    def __init__(self) -> None:
        self.made: list[FakeConnection] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault: Exception | None = None
        self.now = 0.0

    async def open(self) -> FakeConnection:
        """Open a connection."""
        await self.gate.wait()
        if self.fault:
            raise self.fault
        self.made.append(FakeConnection())
        return self.made[-1]

    @property
    def living(self) -> int:
        """How many connections are open."""
        return sum(not each.is_ended for each in self.made)


@pytest.fixture
async def store() -> FakeStore:
    """A store."""
    return FakeStore()


@pytest.fixture
async def pool(store: FakeStore) -> AsyncIterator[Connections[FakeConnection]]:
    """The pool of its connections."""
    pool = Connections(store.open, LIMIT, lambda: store.now)
    yield pool
    pool.close()


Pool = Connections[FakeConnection]


async def use(pool: Pool, gate: asyncio.Event) -> FakeConnection:
    """Have a connection until the gate opens."""
    async with pool.lent() as connection:
        await gate.wait()
        return connection


async def settle() -> None:
    """Let all tasks go as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def opened(pool: Pool) -> FakeConnection:
    """Use a connection for a moment."""
    async with pool.lent() as connection:
        return connection


async def test_a_connection_is_used_again(store: FakeStore, pool: Pool) -> None:
    """Calls one after the other share a connection."""
    assert await opened(pool) is await opened(pool)
    assert len(store.made) == 1


async def test_the_limit(store: FakeStore, pool: Pool) -> None:
    """Many calls at the same time have as many connections as are allowed, and all end."""
    gate = asyncio.Event()
    calls = [asyncio.create_task(use(pool, gate)) for _ in range(10)]
    await settle()
    assert len(store.made) == LIMIT
    gate.set()
    used = await asyncio.gather(*calls)
    assert set(used) == set(store.made)
    assert store.living == LIMIT


async def test_the_longest_waiting_is_first(store: FakeStore) -> None:
    """A connection that is given back goes to the call that waits longest."""
    pool = Connections(store.open, 1)
    order: list[int] = []

    async def call(number: int) -> None:
        async with pool.lent():
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(call(number) for number in range(5)))
    assert order == [0, 1, 2, 3, 4]
    pool.close()


async def test_an_opening_goes_on_without_its_caller(store: FakeStore, pool: Pool) -> None:
    """A caller whose time is over leaves an opening behind, which the next one finds done."""
    store.gate.clear()
    call = asyncio.create_task(opened(pool))
    await settle()
    call.cancel()
    await settle()
    store.gate.set()
    await settle()
    assert store.living == 1
    assert await opened(pool) is store.made[0]


async def test_callers_that_end_at_the_moment_of_their_turn(store: FakeStore, pool: Pool) -> None:
    """A connection that arrives as its caller is cancelled is lent to the next one."""
    store.gate.clear()
    calls = [asyncio.create_task(opened(pool)) for _ in range(LIMIT)]
    await settle()
    store.gate.set()
    while not store.made:  # noqa: ASYNC110 (a step of the loop before its callers know)
        await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await settle()
    assert store.living == LIMIT
    gate = asyncio.Event()
    others = [asyncio.create_task(use(pool, gate)) for _ in range(LIMIT)]
    await settle()
    gate.set()
    await asyncio.gather(*others)
    assert len(store.made) == LIMIT


async def test_a_failure_closes_all_idle_connections(store: FakeStore, pool: Pool) -> None:
    """After a failure, or a time limit, the next call has a new connection."""
    gate = asyncio.Event()
    calls = [asyncio.create_task(use(pool, gate)) for _ in range(LIMIT)]
    await settle()
    gate.set()
    await asyncio.gather(*calls)
    gate.clear()
    late = asyncio.create_task(use(pool, gate))
    await settle()
    late.cancel()
    await settle()
    assert store.living == 0
    assert await opened(pool) is store.made[LIMIT]


async def test_a_call_fails_while_others_wait(store: FakeStore) -> None:
    """The connection of a failed call is replaced for those that wait."""
    pool = Connections(store.open, 1)
    gate = asyncio.Event()
    first = asyncio.create_task(use(pool, gate))
    others = [asyncio.create_task(opened(pool)) for _ in range(3)]
    await settle()
    first.cancel()
    assert set(await asyncio.gather(*others)) == {store.made[1]}
    pool.close()


async def test_all_that_wait_learn_why_none_opens(store: FakeStore, pool: Pool) -> None:
    """If none can be opened each call fails with the reason, and the next tries for itself."""
    store.fault = NotReachedError("refused")
    calls = [opened(pool) for _ in range(10)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {str(each) for each in outcomes} == {"refused"}
    for _ in range(3):
        with pytest.raises(NotReachedError, match="refused"):
            await opened(pool)
    store.fault = None
    await opened(pool)


async def test_a_call_right_after_a_failed_one(store: FakeStore, pool: Pool) -> None:
    """A call that follows without a pause opens a connection of its own, and does not wait."""
    store.fault = NotReachedError("refused")
    with pytest.raises(NotReachedError):
        await opened(pool)
    store.fault = None
    await asyncio.wait_for(opened(pool), 30)


async def test_one_connection_is_enough(store: FakeStore, pool: Pool) -> None:
    """If a store allows fewer connections, calls wait for those that there are."""
    gate = asyncio.Event()
    first = asyncio.create_task(use(pool, gate))
    await settle()
    store.fault = NotReachedError("too many connections")
    others = [asyncio.create_task(opened(pool)) for _ in range(5)]
    await settle()
    gate.set()
    assert await first in await asyncio.gather(*others)


async def test_garbage_in_the_opening(store: FakeStore, pool: Pool) -> None:
    """A library that stumbles over what a store sends makes the call fail, not hang."""
    store.fault = IndexError("what no library expects")
    with pytest.raises(NotReachedError, match="no protocol: IndexError"):
        await opened(pool)


async def test_a_connection_that_has_ended(store: FakeStore, pool: Pool) -> None:
    """An idle connection that the store has ended is not lent."""
    first = await opened(pool)
    first.terminate()
    assert await opened(pool) is not first


async def test_a_connection_that_was_idle_for_long(store: FakeStore, pool: Pool) -> None:
    """After some time a firewall may have forgotten a connection: it is closed."""
    first = await opened(pool)
    store.now = IDLE_LIMIT - 1
    assert await opened(pool) is first
    store.now += IDLE_LIMIT
    assert await opened(pool) is not first
    assert first.is_ended


async def test_the_next_probe_uses_what_the_last_has_opened(store: FakeStore, pool: Pool) -> None:
    """A store so far away that a look-up has no time for an opening is reached again in the end."""
    first = await opened(pool)
    store.now = LONGEST_PAUSE + PROBES_WITHIN
    assert await opened(pool) is first


async def test_what_a_burst_has_left(store: FakeStore, pool: Pool) -> None:
    """Connections that a burst needed are closed when they were not used for a while."""
    gate = asyncio.Event()
    using = [asyncio.create_task(use(pool, gate)) for _ in range(LIMIT)]
    await settle()
    gate.set()
    await asyncio.gather(*using)
    assert store.living == LIMIT
    for _ in range(3):
        store.now += IDLE_LIMIT / 2
        await opened(pool)
    assert store.living == 1


async def test_closing(store: FakeStore, pool: Pool) -> None:
    """All calls fail, those that have a connection, wait for one, or come later."""
    gate = asyncio.Event()
    using = [asyncio.create_task(use(pool, gate)) for _ in range(LIMIT - 1)]
    await settle()
    store.gate.clear()
    waiting = [asyncio.create_task(opened(pool)) for _ in range(3)]
    await settle()
    pool.close()
    assert store.living == 0
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in outcomes} == {NotReachedError}
    with pytest.raises(NotReachedError):
        await opened(pool)
    gate.set()
    await asyncio.gather(*using)
    assert store.living == 0
