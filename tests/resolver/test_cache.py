"""The state cache: what is evicted first, and how much memory an entry takes."""

import asyncio
import gc
import tracemalloc
from collections.abc import Iterable, Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.dane import DaneOutcome, HostState, after_verdict
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State, restored
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.resolver.cache import StateCache, evict_oldest
from postfix_mta_sts.store.memory import MemoryStore
from postfix_mta_sts.values import replace
from tests.support.clients import request
from tests.support.replies import make_reply_cache
from tests.support.resolvers import make_resolver
from tests.support.states import a_state
from tests.support.surroundings import START, UNSIGNED, Surroundings, signed

A, B, C = (Domain(f"{name}.test") for name in "abc")


class SmallCache:
    """A cache with two entries, and the domains that were evicted."""

    def __init__(self) -> None:
        self.evicted: list[Domain] = []
        self.cache = StateCache(2, self.evicted.append)

    def put(self, *domains: Domain, outcome: DaneOutcome | None = None) -> None:
        """Store a state for each domain, with the verdict of this outcome."""
        dane = after_verdict(None, outcome, START) if outcome else None
        for domain in domains:
            self.cache.put(domain, replace(a_state(), dane=dane), START)


def test_the_least_recently_used_entry_is_evicted_first() -> None:
    """The entry loses its state, and the callback is called."""
    small = SmallCache()
    small.put(A, B)
    first, second = small.cache.get(A), small.cache.get(B)
    assert first
    assert second
    small.cache.use(first, START + 1)
    small.put(C)
    assert small.evicted == [B]
    assert second.state is None
    assert small.cache.get(B) is None
    assert (small.cache.get(A), len(small.cache)) == (first, 2)


def test_a_second_state_replaces_the_first() -> None:
    """The first entry loses its state; that is no eviction."""
    small = SmallCache()
    small.put(A)
    before = small.cache.get(A)
    assert before
    small.put(A)
    assert before.state is None
    assert small.evicted == []
    assert len(small.cache) == 1


def test_drop() -> None:
    """Removes an entry; returns whether there was one."""
    small = SmallCache()
    small.put(A)
    assert [small.cache.drop(A), small.cache.drop(A)] == [True, False]
    assert small.cache.states() == []


def test_verdicts_that_are_due() -> None:
    """Recently asked DANE domains whose verdict is due; none after `drop_verdicts`."""
    small = SmallCache()
    small.put(A, outcome=signed(HostState.USABLE, ttl=100))
    small.put(B, outcome=UNSIGNED)
    due = START + 90
    assert small.cache.verdicts_due(START, START) == []
    assert small.cache.verdicts_due(START, due) == [A]
    assert small.cache.verdicts_due(START + 1, due) == []
    small.cache.drop_verdicts()
    assert small.cache.verdicts_due(START, due) == []
    assert [state.dane for _, state in small.cache.states()] == [None, None]


class TestEvictOldest:
    """`evict_oldest`, which also bounds the reply cache."""

    def test_up_to_the_limit_nothing_is_removed(self) -> None:
        """A dict of exactly the limit stays as it is."""
        memory = {1: "a", 2: "b"}
        assert evict_oldest(memory, 2) == []
        assert memory == {1: "a", 2: "b"}

    def test_the_oldest_is_removed_first(self) -> None:
        """A key that was removed and inserted again counts as new."""
        memory = {1: "a", 2: "b", 3: "c"}
        memory[1] = memory.pop(1)
        assert evict_oldest(memory, 2) == ["b"]
        assert list(memory) == [3, 1]

    @given(st.lists(st.integers(0, 500), max_size=600), st.integers(1, 200))
    def test_bounded(self, uses: list[int], limit: int) -> None:
        """Never above the limit; the last used keys stay, 63/64 of the limit."""
        memory: dict[int, None] = {}
        for key in uses:
            memory.pop(key, None)
            memory[key] = None
            evict_oldest(memory, limit)
            assert len(memory) <= limit
        latest = list(dict.fromkeys(reversed(uses)))
        assert set(latest[: limit - limit // 64]) <= set(memory)


class DecodingStore(MemoryStore):
    """A store that decodes a new state on every read, as the SQLite store does.

    Every domain was checked just now; domains that start with "absent" have no row.
    """

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`."""
        return {domain: _decode(domain) for domain in domains if not domain.startswith("absent")}


def _decode(domain: Domain) -> State:
    text = f"version: STSv1\r\nmode: enforce\r\nmx: mx1.{domain}\r\nmx: mx2.{domain}\r\n"
    policy = parse_policy(f"{text}max_age: 604800\r\n".encode())
    state = restored(policy, PolicyId("20260101"), START - 1.0, START + 80_000.0)
    return replace(state, recheck_at=START + 300)


async def bytes_per_key(around: Surroundings, keys: Iterable[str]) -> float:
    """Bytes of memory per key, after each was looked up once."""
    requests = [request(key) for key in keys]
    resolver = make_resolver(around, timeout=5, entries=10_000)
    cache = make_reply_cache(around, resolver=resolver, entries=10_000)
    gc.collect()
    tracemalloc.start()
    try:
        for each in requests:
            reply = cache.reply(bytes(bytearray(each)))  # a new object, as read from a socket
            assert not isinstance(reply, bytes)
            reply.reply(await reply.result)
        await resolver.close()
        gc.collect()
        assert cache.entries == resolver.entries == len(requests)
        return tracemalloc.get_traced_memory()[0] / len(requests)
    finally:
        tracemalloc.stop()


async def test_bytes_per_entry() -> None:
    """A policy and its reply take 1 KiB, an absence half of that."""
    around = Surroundings(store=DecodingStore())
    numbers = range(100_000, 102_000)
    absence = await bytes_per_key(around, (f"absent{n}.bench.test" for n in numbers))
    policy = await bytes_per_key(around, (f"d{n}.bench.test" for n in numbers))
    assert 700 < policy < 1_150
    assert 300 < absence < 600


async def test_times_of_many_states_are_corrected_in_slices() -> None:
    """The loop gets its turn in between, and an entry that is evicted meanwhile is passed over."""
    cache = StateCache(10_000, lambda _: None)
    for n in range(1_200):
        cache.put(Domain(f"d{n}.test"), a_state(START + 9e9), START)
    correcting = asyncio.create_task(cache.correct_times(lambda: START))
    await asyncio.sleep(0)
    assert [state.fetched_at for _, state in cache.states()][-1] == START + 9e9
    cache.drop(Domain("d1199.test"))
    await correcting
    assert {state.fetched_at for _, state in cache.states()} == {START}
