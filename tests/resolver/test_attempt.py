"""One attempt: its steps are counted, and its faults do not leave look-ups without an answer."""

import asyncio
import gc
import logging

import pytest

from postfix_mta_sts.mtasts.decision import PolicyStep
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import NoRecordError, OwnFaultError, StatusError
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.resolver.single_flight import Flight
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import SUCCESS, Stage
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.resolvers import OTHER, look_up, make_resolver, wait_for_end
from tests.support.surroundings import GOOD, Surroundings, found, signed
from tests.support.tally import Gate


async def test_steps_are_counted() -> None:
    """Counted by stage, and by success or error code; evictions are counted too."""
    around, counters = Surroundings(), Counters()
    around.publish()
    around.records[OTHER] = found("b")
    around.policies[OTHER] = StatusError("HTTP 404")
    resolver = make_resolver(around, entries=1, counters=counters)
    for domain in (GOOD, OTHER, parse_domain("third.test")):
        await look_up(resolver, domain)
    assert counters.attempts == {
        (Stage.DNS, SUCCESS): 2,
        (Stage.DNS, NoRecordError.code): 1,
        (Stage.HTTPS, SUCCESS): 1,
        (Stage.HTTPS, StatusError.code): 1,
    }
    assert (counters.evicted, resolver.entries, resolver.under_way) == (2, 1, 0)


async def test_a_failed_attempt_leaves_no_reference_cycle() -> None:
    """Most domains have no policy: their errors must not keep the attempts until a collection."""
    around = Surroundings()
    around.records[OTHER] = found("b")
    around.policies[OTHER] = StatusError("HTTP 404")
    resolver = make_resolver(around)

    def flights() -> int:
        return sum(isinstance(each, Flight) for each in gc.get_objects())

    gc.collect()
    before = flights()
    gc.disable()
    try:
        for domain in (GOOD, OTHER):
            await look_up(resolver, domain)
            await wait_for_end(resolver, domain)
        assert flights() == before
    finally:
        gc.enable()


async def test_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    """A bug is logged with its traceback and counted; a look-up gets an answer; none is kept."""
    around, counters = Surroundings(), Counters()
    around.records[GOOD] = ZeroDivisionError("a bug")
    resolver = make_resolver(around, counters=counters)
    result = await resolver.find(GOOD)
    assert (result.state, result.knowledge.step) == (None, PolicyStep.OWN_FAULT)
    assert resolver.entry(GOOD) is None
    assert counters.attempts == {(Stage.OWN, OwnFaultError.code): 1}
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.exc_info


@pytest.mark.parametrize("stage", ["dns", "https"])
async def test_a_fault_of_the_network_process(caplog: pytest.LogCaptureFixture, stage: str) -> None:
    """The policy stays; the fault is counted, and not logged a second time."""
    around, counters = Surroundings(), Counters()
    around.publish()
    resolver = make_resolver(around, counters=counters)
    before = await look_up(resolver)
    fault = OwnFaultError("the network process has ended")
    if stage == "dns":
        around.records[GOOD] = fault
    else:
        around.policies[GOOD] = fault
    await resolver.refresh(GOOD)
    after = await look_up(resolver)
    assert after.policy == before.policy
    assert after.expires_at == before.expires_at
    assert counters.attempts[Stage.OWN, OwnFaultError.code] == 1
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_a_fault_of_the_dane_look_up() -> None:
    """The verdict before stays with the policy: a fault of ours says nothing about the domain."""
    around, counters = Surroundings(verdicts={GOOD: signed(ttl=86_400)}), Counters()
    around.publish()
    resolver = make_resolver(around, counters=counters)
    resolver.use_dane(around.look_up_dane)
    before = await look_up(resolver)
    await wait_for_end(resolver)
    around.verdicts[GOOD] = OwnFaultError("the network process has ended")
    await resolver.refresh(GOOD)
    after = await look_up(resolver)
    assert after.dane == before.dane
    assert counters.attempts[Stage.OWN, OwnFaultError.code] == 1


class HeldStore(MemoryStore):
    """A store whose single reads can be held back."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.reading = asyncio.Event()

    async def load(self, domain: Domain) -> State | None:
        """See `Store`."""
        self.reading.set()
        await self.gate.passed()
        return await super().load(domain)


async def test_cancelled_before_the_dane_look_up() -> None:
    """An attempt that is cancelled while it reads the store asks the network nothing."""
    store = HeldStore()
    around = Surroundings(store=store)
    resolver = make_resolver(around)
    resolver.use_dane(around.look_up_dane)
    store.gate.hold()
    renewal = asyncio.create_task(resolver.renew(GOOD))
    await store.reading.wait()
    await resolver.close()
    await renewal
    assert (around.queries.total, around.dane_queries.total, resolver.under_way) == (0, 0, 0)


async def test_an_attempt_for_a_cached_domain_updates_its_entry() -> None:
    """Code that holds the cache entry sees the new state, also after a renewal."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    before = await look_up(resolver)
    entry = resolver.entry(GOOD)
    around.publish(policy_id="b", mode="testing")
    await resolver.renew(GOOD)
    await wait_for_end(resolver)
    assert entry
    assert entry.state is not before
    assert resolver.entry(GOOD) is entry
