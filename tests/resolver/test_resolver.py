"""Look-ups: cache, then store, then one attempt per domain at a time."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import pytest

from postfix_mta_sts.admin.serialize import fails
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, NoRecordError, StatusError
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, State, restored
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.stats.labels import Source
from postfix_mta_sts.store import LastAsked
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.resolvers import OTHER, find_state, look_up, make_resolver, wait_for_end
from tests.support.surroundings import GOOD, START, Surroundings, policy
from tests.support.tally import Gate


async def test_a_new_domain() -> None:
    """One TXT query, one GET, stored before the answer; the next look-up is served by the cache."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    assert resolver.cached(GOOD) is None
    state = await look_up(resolver)
    assert state.policy == policy()
    assert await around.store.load(GOOD) is not None
    entry = resolver.cached(GOOD)
    assert entry
    assert entry.state is state
    assert (around.queries.total, around.gets.total) == (1, 1)


async def test_a_domain_without_policy() -> None:
    """One TXT query and no GET; the absence is cached, and not stored."""
    around = Surroundings()
    resolver = make_resolver(around)
    assert (await look_up(resolver)).policy is None
    assert resolver.cached(GOOD)
    assert await around.store.load(GOOD) is None
    assert (around.queries.total, around.gets.total) == (1, 0)


async def test_200_look_ups_of_a_new_domain_share_an_attempt() -> None:
    """One TXT query and one GET serve all clients (X3)."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(look_up(resolver)) for _ in range(200)]
    assert {id(task.result()) for task in tasks} == {id(tasks[0].result())}
    assert (around.queries[GOOD], around.gets[GOOD]) == (1, 1)


async def test_look_up_recheck_and_renewal_share_an_attempt() -> None:
    """There is one attempt per domain at a time, whatever started it."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    await look_up(resolver)
    around.now += HOUR
    around.dns.hold()
    assert resolver.cached(GOOD)
    renewal = asyncio.create_task(resolver.renew(GOOD))
    assert resolver.cached(GOOD)
    await around.queries.reached(GOOD, 2)
    around.dns.release()
    await renewal
    assert around.queries[GOOD] == 2


async def test_a_slow_domain_does_not_delay_others() -> None:
    """A look-up is answered while the attempt for another domain hangs (X3)."""
    around = Surroundings()
    around.publish()
    around.records[OTHER] = NoRecordError("NXDOMAIN")
    around.https.hold()
    resolver = make_resolver(around)
    slow = asyncio.create_task(find_state(resolver, GOOD))
    await around.gets.reached(GOOD)
    assert (await look_up(resolver, OTHER)).policy is None
    assert not slow.done()
    around.https.release()
    assert (await slow) is not None


async def test_the_attempt_continues_after_the_lookup_timeout() -> None:
    """A look-up that times out has no result; the attempt serves a later one."""
    around = Surroundings()
    around.publish()
    around.https.hold()
    resolver = make_resolver(around, timeout=0.01)
    assert await find_state(resolver, GOOD) is None
    assert await find_state(resolver, GOOD) is None  # the timeout counts from the attempt's start
    around.https.release()
    await wait_for_end(resolver)
    assert resolver.cached(GOOD)
    assert around.gets[GOOD] == 1


async def test_a_cancelled_look_up_does_not_cancel_the_attempt() -> None:
    """Other look-ups that wait for the attempt get its result."""
    around = Surroundings()
    around.publish()
    around.https.hold()
    resolver = make_resolver(around)
    first, second = (asyncio.create_task(find_state(resolver, GOOD)) for _ in range(2))
    await around.gets.reached(GOOD)
    first.cancel()
    await asyncio.wait([first])
    around.https.release()
    assert await second is not None


async def test_restart() -> None:
    """A stored policy is served with its original age and rechecked in the background (C13)."""
    around = Surroundings()
    around.publish()
    await look_up(make_resolver(around))
    around.now += DAY
    around.records[GOOD] = DnsFailureError("SERVFAIL")
    around.policies[GOOD] = StatusError("HTTP 500")
    around.dns.hold()
    resolver = make_resolver(around)
    state = await look_up(resolver)
    assert (state.policy, state.fetched_at) == (policy(), START)
    around.dns.release()
    await wait_for_end(resolver)
    ((_, after),) = await resolver.states(has_policy)
    assert after.fetched_at == START


async def test_an_expired_row_is_not_served() -> None:
    """The look-up waits for the network and gets its result."""
    around = Surroundings()
    await around.store.save(GOOD, restored(policy(max_age=60), PolicyId("a"), START, START), 0)
    around.now += 60
    assert (await look_up(make_resolver(around))).policy is None


async def test_a_policy_fetched_by_another_process_is_used() -> None:
    """Two daemons share a store: the second takes the row of the first, without a GET."""
    around = Surroundings()
    around.publish()
    first, second = make_resolver(around), make_resolver(around)
    await look_up(first)
    await look_up(second)
    around.publish(policy_id="b", mode="testing")
    around.now += 300
    for resolver in (first, second):
        await resolver.renew(GOOD)
    assert around.gets[GOOD] == 2
    assert (await look_up(second)).policy == policy("testing")


async def test_the_cache_is_bounded() -> None:
    """The least recently used entry is evicted first, and loses its state."""
    around = Surroundings()
    resolver = make_resolver(around, entries=2)
    domains = [parse_domain(f"d{n}.test") for n in range(3)]
    await look_up(resolver, domains[0])
    await look_up(resolver, domains[1])
    evicted = resolver.entry(domains[1])
    resolver.cached(domains[0])
    await look_up(resolver, domains[2])
    assert resolver.cached(domains[0])
    assert resolver.cached(domains[1]) is None
    assert evicted
    assert evicted.state is None


async def test_a_renewal_takes_no_room_in_the_cache() -> None:
    """A policy that is renewed and not looked up is only stored."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    await resolver.renew(GOOD)
    assert resolver.entry(GOOD) is None
    assert await around.store.load(GOOD) is not None


async def test_the_source_of_an_answer() -> None:
    """Network, cache or store; none after the lookup timeout."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    result = await resolver.find(GOOD)
    assert result.source is Source.NETWORK
    entry = resolver.cached(GOOD)
    assert entry
    assert entry.state is result.state
    assert (await make_resolver(around).find(GOOD)).source is Source.STORE
    around.dns.hold()
    late = await make_resolver(around, timeout=0).find(OTHER)
    assert (late.state, late.source, late.time_is_up) == (None, Source.NONE, True)
    around.dns.release()


class SlowStore(MemoryStore):
    """A store whose batch reads can be held back."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`."""
        await self.gate.passed()
        return await super().load_all(domains)


async def test_a_second_look_up_while_the_store_is_read() -> None:
    """The row is read twice; the second look-up gets the state that is cached by then."""
    store = SlowStore()
    around = Surroundings(store=store)
    around.publish()
    await look_up(make_resolver(around))
    resolver = make_resolver(around)
    store.gate.hold()
    first = resolver.find(GOOD)
    await asyncio.sleep(0)
    second = resolver.find(GOOD)
    store.gate.release()
    states = [(await each).state for each in (first, second)]
    assert [state and state.policy for state in states] == [policy(), policy()]
    assert around.gets[GOOD] == 1


async def test_the_attempt_limit(caplog: pytest.LogCaptureFixture) -> None:
    """At the limit the daemon starts no attempt of its own; logged once."""
    caplog.set_level(logging.INFO)
    around = Surroundings()
    around.dns.hold()
    resolver = make_resolver(around, attempts=1)
    waiting = asyncio.create_task(find_state(resolver, GOOD))
    await around.queries.reached(GOOD)
    assert await find_state(resolver, OTHER) is None
    await resolver.renew(OTHER)
    around.dns.release()
    await waiting
    await wait_for_end(resolver)
    assert around.queries[OTHER] == 0
    assert await find_state(resolver, OTHER) is not None
    assert caplog.messages == [
        "attempt limit reached, the oldest end for new ones limit=1 count=1",
        "below the attempt limit again under_way=0",
    ]


async def test_close() -> None:
    """Attempts under way are cancelled; look-ups that wait get no result."""
    around = Surroundings()
    around.dns.hold()
    resolver = make_resolver(around)
    waiting = asyncio.create_task(find_state(resolver, GOOD))
    await around.queries.reached(GOOD)
    await resolver.close()
    assert await waiting is None
    await resolver.close()


def has_policy(state: State) -> bool:
    """Whether the state holds a policy."""
    return state.policy is not None


async def test_cached_policies() -> None:
    """`states` can list those with a policy; a new store file is filled with them."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    state = await look_up(resolver)
    await look_up(resolver, OTHER)
    assert await resolver.states(has_policy) == [(GOOD, state)]


async def test_failing_domains() -> None:
    """`states` can list those whose last attempt failed."""
    around = Surroundings()
    around.publish()
    around.records[OTHER] = DnsFailureError("SERVFAIL")
    resolver = make_resolver(around)
    await look_up(resolver)
    state = await look_up(resolver, OTHER)
    assert await resolver.states(fails) == [(OTHER, state)]


async def test_last_asked_times() -> None:
    """Domains with a policy: when they were last asked for, and how often since `take`."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    await look_up(resolver)
    await look_up(resolver, OTHER)
    assert resolver.usage.take() == {GOOD: LastAsked(START, 1)}
    around.now += 60
    resolver.cached(GOOD)
    resolver.usage.note(GOOD, 5, around.now)
    assert resolver.usage.take() == {GOOD: LastAsked(START + 60, 6)}
    assert resolver.usage.take() == {}
