"""One attempt per domain at a time; memory, then store, then network."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import pytest

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, NoRecordError, StatusError
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, State, restored
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.single_flight import NO_RESULT
from postfix_mta_sts.stats import Source
from postfix_mta_sts.store import LastAsked
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.resolvers import OTHER, looked_up, resolver_in, settled
from tests.support.surroundings import GOOD, START, Surroundings, policy
from tests.support.tally import Gate


async def test_a_new_domain() -> None:
    """One query, one GET, on file before the answer; the next is answered from memory."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    assert resolver.cached(GOOD) is None
    state = await looked_up(resolver)
    assert state.policy == policy()
    assert await around.store.load(GOOD) is not None
    known = resolver.cached(GOOD)
    assert known
    assert known.state is state
    assert (around.queries.total, around.gets.total) == (1, 1)


async def test_a_domain_without_policy() -> None:
    """One query, no GET, nothing on file; remembered."""
    around = Surroundings()
    resolver = resolver_in(around)
    assert (await looked_up(resolver)).policy is None
    assert resolver.cached(GOOD)
    assert await around.store.load(GOOD) is None
    assert (around.queries.total, around.gets.total) == (1, 0)


async def test_200_clients_ask_for_one_new_domain() -> None:
    """One TXT query and one GET serve them all (X3)."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(looked_up(resolver)) for _ in range(200)]
    assert {id(task.result()) for task in tasks} == {id(tasks[0].result())}
    assert (around.queries[GOOD], around.gets[GOOD]) == (1, 1)


async def test_look_up_recheck_and_refresh_share_an_attempt() -> None:
    """Single flight, whoever asks."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    await looked_up(resolver)
    around.now += HOUR
    around.dns.hold()
    assert resolver.cached(GOOD)
    renewal = asyncio.create_task(resolver.renew(GOOD))
    assert resolver.cached(GOOD)
    await around.queries.reached(GOOD, 2)
    around.dns.release()
    await renewal
    assert around.queries[GOOD] == 2


async def test_a_slow_domain_delays_nobody_else() -> None:
    """Others are found while one hangs (X3)."""
    around = Surroundings()
    around.publish()
    around.records[OTHER] = NoRecordError("NXDOMAIN")
    around.https.hold()
    resolver = resolver_in(around)
    waiting = asyncio.create_task(resolver.look_up(GOOD))
    await around.gets.reached(GOOD)
    assert (await looked_up(resolver, OTHER)).policy is None
    assert not waiting.done()
    around.https.release()
    assert (await waiting) is not None


async def test_a_look_up_waits_only_so_long_and_the_attempt_goes_on() -> None:
    """Not known in time: none; the attempt serves the next look-up."""
    around = Surroundings()
    around.publish()
    around.https.hold()
    resolver = resolver_in(around, timeout=0.01)
    assert await resolver.look_up(GOOD) is None
    assert await resolver.look_up(GOOD) is None  # its time counts from the attempt's beginning
    around.https.release()
    await settled(resolver)
    assert resolver.cached(GOOD)
    assert around.gets[GOOD] == 1


async def test_a_client_that_goes_away_cancels_nothing() -> None:
    """The attempt belongs to nobody."""
    around = Surroundings()
    around.publish()
    around.https.hold()
    resolver = resolver_in(around)
    first, second = (asyncio.create_task(resolver.look_up(GOOD)) for _ in range(2))
    await around.gets.reached(GOOD)
    first.cancel()
    await asyncio.wait([first])
    around.https.release()
    assert await second is not None


async def test_restart() -> None:
    """What is on file is served with its original age, and checked behind the reply (C13)."""
    around = Surroundings()
    around.publish()
    await looked_up(resolver_in(around))
    around.now += DAY
    around.records[GOOD] = DnsFailureError("SERVFAIL")
    around.policies[GOOD] = StatusError("HTTP 500")
    around.dns.hold()
    resolver = resolver_in(around)
    state = await looked_up(resolver)
    assert (state.policy, state.fetched_at) == (policy(), START)
    around.dns.release()
    await settled(resolver)
    (on_file,) = resolver.policies()
    assert on_file[1].fetched_at == START


async def test_an_expired_row_is_not_served() -> None:
    """The network is asked first, and what it says holds."""
    around = Surroundings()
    await around.store.save(GOOD, restored(policy(max_age=60), PolicyId("a"), START, START), 0)
    around.now += 60
    assert (await looked_up(resolver_in(around))).policy is None


async def test_what_another_process_has_fetched_is_taken() -> None:
    """Two daemons on one file: the second takes what the first has put there, without a GET."""
    around = Surroundings()
    around.publish()
    first, second = resolver_in(around), resolver_in(around)
    await looked_up(first)
    await looked_up(second)
    around.publish(policy_id="b", mode="testing")
    around.now += 300
    for resolver in (first, second):
        await resolver.renew(GOOD)
    assert around.gets[GOOD] == 2
    assert (await looked_up(second)).policy == policy("testing")


async def test_memory_is_bounded() -> None:
    """The least recently used goes first; whoever holds it sees it gone."""
    around = Surroundings()
    resolver = resolver_in(around, entries=2)
    domains = [parse_domain(f"d{n}.test") for n in range(3)]
    await looked_up(resolver, domains[0])
    await looked_up(resolver, domains[1])
    dropped = resolver.entry(domains[1])
    resolver.cached(domains[0])
    await looked_up(resolver, domains[2])
    assert resolver.cached(domains[0])
    assert resolver.cached(domains[1]) is None
    assert dropped
    assert dropped.state is None


async def test_a_renewal_takes_no_room_in_memory() -> None:
    """What the refresher renews and nobody asks for is kept on file only."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    await resolver.renew(GOOD)
    assert resolver.entry(GOOD) is None
    assert await around.store.load(GOOD) is not None


async def test_where_an_answer_came_from() -> None:
    """The network, memory, the file; nowhere if there was no time."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    found = await resolver.find(GOOD)
    assert found.source is Source.NETWORK
    known = resolver.cached(GOOD)
    assert known
    assert known.state is found.state
    assert (await resolver_in(around).find(GOOD)).source is Source.STORE
    around.dns.hold()
    assert await resolver_in(around, timeout=0).find(OTHER) == NO_RESULT
    around.dns.release()


class SlowFile(MemoryStore):
    """A store that is read when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`."""
        await self.gate.passed()
        return await super().load_all(domains)


async def test_asked_for_again_while_the_file_is_read() -> None:
    """It is read twice then, and who comes second gets what is in memory by now."""
    around = Surroundings(store=SlowFile())
    around.publish()
    await looked_up(resolver_in(around))
    resolver, file = resolver_in(around), around.store
    assert isinstance(file, SlowFile)
    file.gate.hold()
    first = resolver.find(GOOD)
    await asyncio.sleep(0)
    second = resolver.find(GOOD)
    file.gate.release()
    assert (await first).state is (await second).state
    assert around.gets[GOOD] == 1


async def test_close() -> None:
    """Attempts under way are ended, and those who wait are told that nothing is known."""
    around = Surroundings()
    around.dns.hold()
    resolver = resolver_in(around)
    waiting = asyncio.create_task(resolver.look_up(GOOD))
    await around.queries.reached(GOOD)
    await resolver.close()
    assert await waiting is None
    await resolver.close()


async def test_too_many_attempts(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond the limit a look-up is answered as unknown and nothing is begun; told once."""
    caplog.set_level(logging.INFO)
    around = Surroundings()
    around.dns.hold()
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=100, attempts=1)
    waiting = asyncio.create_task(resolver.look_up(GOOD))
    await around.queries.reached(GOOD)
    assert await resolver.look_up(OTHER) is None
    await resolver.renew(OTHER)
    around.dns.release()
    await waiting
    await settled(resolver)
    assert around.queries[OTHER] == 0
    assert await resolver.look_up(OTHER) is not None
    assert caplog.messages == [
        "attempt limit reached, look-ups answered as unknown limit=1",
        "below the attempt limit again under_way=0",
    ]


async def test_failing_domains() -> None:
    """Those in memory whose last attempt failed, with their states."""
    around = Surroundings()
    around.publish()
    around.records[OTHER] = DnsFailureError("SERVFAIL")
    resolver = resolver_in(around)
    await looked_up(resolver)
    state = await looked_up(resolver, OTHER)
    assert resolver.failing() == [(OTHER, state)]


async def test_policies_in_memory() -> None:
    """Those a store that was begun anew is filled with."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    state = await looked_up(resolver)
    await looked_up(resolver, OTHER)
    assert resolver.policies() == [(GOOD, state)]


async def test_last_asked_times() -> None:
    """Of those who have a policy, and how often, since they were last taken."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    await looked_up(resolver)
    await looked_up(resolver, OTHER)
    assert resolver.usage.take() == {GOOD: LastAsked(START, 1)}
    around.now += 60
    resolver.cached(GOOD)
    resolver.usage.note(GOOD, 5, around.now)
    assert resolver.usage.take() == {GOOD: LastAsked(START + 60, 6)}
    assert resolver.usage.take() == {}
