"""One attempt per domain at a time; memory, then store, then network."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import pytest

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, NoRecordError, OwnFaultError, StatusError
from postfix_mta_sts.mtasts.lifecycle import ABSENCE_RECHECK, DAY, HOUR, State, restored
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.resolver.recheck_queue import CONCURRENCY, QUEUE_LIMIT
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.single_flight import NO_RESULT
from postfix_mta_sts.stats import SUCCESS, Counters, Source, Stage
from postfix_mta_sts.store import LastAsked
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.surroundings import GOOD, START, Surroundings, found, policy
from tests.support.tally import Gate

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


async def test_recheck_behind_the_reply() -> None:
    """What is due is served at once and checked behind; the new id is there for the next."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    first = await looked_up(resolver)
    around.publish(policy_id="b", mx="mx9.good.test")
    around.now += 300
    known = resolver.cached(GOOD)
    assert known
    assert known.state is first
    await settled(resolver)
    assert (await looked_up(resolver)).policy == policy(mx="mx9.good.test")
    assert known.state is not first


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


async def test_an_absence_in_memory_hides_no_policy_on_file() -> None:
    """A read that failed when the absence was found, or another process: C3, promise 2."""
    around = Surroundings()
    resolver = resolver_in(around)
    await looked_up(resolver)
    await around.store.save(GOOD, restored(policy(), PolicyId("a"), START, START + DAY), START)
    around.now += ABSENCE_RECHECK
    resolver.cached(GOOD)
    await settled(resolver)
    assert (await looked_up(resolver)).policy == policy()


async def test_no_room_for_an_attempt_hides_no_policy_on_file() -> None:
    """Whoever makes the relay look up many silent domains downgrades none that is known."""
    around = Surroundings()
    await around.store.save(GOOD, restored(policy(), PolicyId("a"), START, START + DAY), START)
    around.dns.hold()
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=100, attempts=1)
    waiting = asyncio.create_task(resolver.look_up(OTHER))
    await around.queries.reached(OTHER)
    assert (await looked_up(resolver)).policy == policy()
    around.dns.release()
    await waiting


async def test_downgrade_by_silent_dns() -> None:
    """An attacker who silences the DNS removes no policy that is known."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    await looked_up(resolver)
    around.records[GOOD] = DnsFailureError("no answer")
    for _ in range(50):
        around.now += HOUR
        known = resolver.cached(GOOD)
        assert known
        assert known.state
        assert known.state.policy == policy()
        await settled(resolver)


async def test_downgrade_by_a_broken_policy_under_a_new_id() -> None:
    """A new id without a valid policy behind it changes nothing (C3)."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    await looked_up(resolver)
    around.records[GOOD] = found("b")
    around.policies[GOOD] = StatusError("HTTP 404")
    around.now += 300
    resolver.cached(GOOD)
    await settled(resolver)
    assert (await looked_up(resolver)).policy == policy()
    on_file = await around.store.load(GOOD)
    assert on_file
    assert (on_file.policy, on_file.policy_id) == (policy(), "a")


async def test_downgrade_by_an_older_policy() -> None:
    """An id seen before brings back no older policy: only what HTTPS serves now counts (C10)."""
    around = Surroundings()
    around.publish(policy_id="old", mode="testing")
    resolver = resolver_in(around)
    await looked_up(resolver)
    around.publish(policy_id="new", mode="enforce")
    around.now += 300
    resolver.cached(GOOD)
    await settled(resolver)
    around.records[GOOD] = found("old")
    around.now += 300
    resolver.cached(GOOD)
    await settled(resolver)
    assert (await looked_up(resolver)).policy == policy("enforce")


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


async def test_steps_are_counted() -> None:
    """By stage, and by success or the error's code; so are those forgotten for want of room."""
    around, counters = Surroundings(), Counters()
    around.publish()
    around.records[OTHER] = found("b")
    around.policies[OTHER] = StatusError("HTTP 404")
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=1, counters=counters)
    for domain in (GOOD, OTHER, parse_domain("third.test")):
        await looked_up(resolver, domain)
    assert counters.attempts == {
        (Stage.DNS, SUCCESS): 2,
        (Stage.DNS, NoRecordError.code): 1,
        (Stage.HTTPS, SUCCESS): 1,
        (Stage.HTTPS, StatusError.code): 1,
    }
    assert (counters.evicted, resolver.entries, resolver.under_way) == (2, 1, 0)


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


async def test_failing_domains() -> None:
    """Those in memory whose last attempt failed, with their states."""
    around = Surroundings()
    around.publish()
    around.records[OTHER] = DnsFailureError("SERVFAIL")
    resolver = resolver_in(around)
    await looked_up(resolver)
    state = await looked_up(resolver, OTHER)
    assert resolver.failing() == [(OTHER, state)]


async def test_a_fault_of_our_own(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in an attempt is logged with its traceback and counted; those who wait are answered."""
    around, counters = Surroundings(), Counters()
    around.records[GOOD] = ZeroDivisionError("a bug")
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=100, counters=counters)
    assert (await looked_up(resolver)).policy is None
    assert counters.attempts == {(Stage.OWN, "own-fault"): 1}
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.exc_info


@pytest.mark.parametrize("stage", ["dns", "https"])
async def test_a_fault_of_our_own_that_was_told(
    caplog: pytest.LogCaptureFixture, stage: str
) -> None:
    """Where the log has been told already, the policy stays, and no further line is written."""
    around, counters = Surroundings(), Counters()
    around.publish()
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=100, counters=counters)
    before = await looked_up(resolver)
    fault = OwnFaultError("the process that asks the network has ended")
    if stage == "dns":
        around.records[GOOD] = fault
    else:
        around.policies[GOOD] = fault
    await resolver.refresh(GOOD)
    after = await looked_up(resolver)
    assert after.policy == before.policy
    assert after.expires_at == before.expires_at
    assert counters.attempts[Stage.OWN, "own-fault"] == 1
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


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


async def test_policies_in_memory() -> None:
    """Those a store that was begun anew is filled with."""
    around = Surroundings()
    around.publish()
    resolver = resolver_in(around)
    state = await looked_up(resolver)
    await looked_up(resolver, OTHER)
    assert resolver.policies() == [(GOOD, state)]


async def holding(around: Surroundings, number: int) -> list[Domain]:
    """Domains whose policies are on file, as many as that."""
    domains = [parse_domain(f"d{n}.test") for n in range(number)]
    for domain in domains:
        around.publish(domain)
        await around.store.save(domain, restored(policy(), PolicyId("a"), START, START + DAY), 0)
    return domains


async def test_what_is_on_file_is_rechecked_one_after_the_other() -> None:
    """All look-ups are answered before; each domain is rechecked once, however often asked for."""
    around = Surroundings()
    domains = await holding(around, 20)
    resolver = resolver_in(around)
    for domain in [*domains, *domains]:
        assert (await looked_up(resolver, domain)).policy
    assert resolver.under_way < 20
    await around.queries.total_reached(20)
    assert [around.queries[domain] for domain in domains] == [1] * 20
    assert not resolver._rechecks
    await settled(resolver, domains[-1])
    await resolver.close()


async def test_rechecks_under_way_are_bounded() -> None:
    """Silent name servers hold up to so many; when one is done, the next begins."""
    around = Surroundings()
    around.dns.hold()
    domains = await holding(around, CONCURRENCY + 2)
    resolver = resolver_in(around, entries=1_000)
    for domain in domains:
        await looked_up(resolver, domain)
    await around.queries.total_reached(CONCURRENCY)
    assert (resolver.under_way, len(resolver._rechecks)) == (CONCURRENCY, 2)
    around.dns.release()
    await around.queries.total_reached(CONCURRENCY + 2)
    await resolver.close()


async def test_a_look_up_is_not_behind_the_rechecks() -> None:
    """Who has nothing to be served asks the network at once, also where a recheck was due."""
    around = Surroundings()
    domains = await holding(around, 3)
    resolver = resolver_in(around)
    for domain in domains:
        await looked_up(resolver, domain)
    around.now += 604_800
    state = await looked_up(resolver, domains[2])
    assert state.fetched_at == around.now
    await resolver.close()


async def test_what_was_evicted_is_not_rechecked() -> None:
    """It is due again when it is next asked for."""
    around = Surroundings()
    domains = await holding(around, 20)
    resolver = resolver_in(around, entries=2)
    for domain in domains:
        await looked_up(resolver, domain)
    await around.queries.reached(domains[19])
    assert not resolver._rechecks
    assert around.queries[domains[17]] == 0
    await looked_up(resolver, domains[17])
    await around.queries.reached(domains[17])
    await resolver.close()


async def test_what_is_fresh_again_is_not_rechecked() -> None:
    """A renewal was faster than the queue."""
    around = Surroundings()
    domains = await holding(around, 20)
    resolver = resolver_in(around)
    for domain in domains:
        await looked_up(resolver, domain)
    await resolver.renew(domains[18])
    assert domains[18] in resolver._rechecks
    await around.queries.reached(domains[19])
    assert around.queries[domains[18]] == 1
    await resolver.close()


async def test_the_queue_is_bounded() -> None:
    """Who finds no room in it is served all the same."""
    around = Surroundings()
    resolver = resolver_in(around, entries=QUEUE_LIMIT * 2)
    state = restored(policy(), PolicyId("a"), START, START + DAY)
    for n in range(QUEUE_LIMIT + 2):
        domain = parse_domain(f"d{n}.test")
        await around.store.save(domain, state, 0)
        assert await resolver.look_up(domain)
    assert len(resolver._rechecks) <= QUEUE_LIMIT
    await resolver.close()
