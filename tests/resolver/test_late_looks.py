"""What the fleet says too late for its budget: it comes in place of nothing, and delays nothing."""

import asyncio
import gc
from collections.abc import Callable, Mapping, Sequence

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DiscoveryError,
    DnsFailureError,
    NoRecordError,
    StatusError,
)
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, Discovered, State, restored
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.sharing import SharedPolicy
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import FleetLook, Source
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.fleet import FakeFleet, shared
from tests.support.resolvers import look_up, settled, sharing, wait_for_end
from tests.support.surroundings import GOOD, START, Surroundings, found, policy
from tests.support.tally import Gate

DEAD = StatusError("HTTP 503")
"""What a Policy Host answers that does not work."""
TxtAnswer = DiscoveryError | Discovered


def late_fleet(offered: SharedPolicy | None = None) -> FakeFleet:
    """A fleet whose store is slower than the budget."""
    return FakeFleet({GOOD: offered or shared(age=HOUR)}, late=True)


@pytest.mark.parametrize("record", [found(), DnsFailureError("SERVFAIL")])
async def test_the_network_fails(record: TxtAnswer) -> None:
    """A dead Policy Host, or name server: the relay knows what the fleet knows, a little later."""
    around, fleet, counters = Surroundings(), late_fleet(), Counters()
    around.records[GOOD], around.policies[GOOD] = record, DEAD
    result = await sharing(around, fleet, counters).find(GOOD)
    assert result.state
    assert (result.source, result.state.policy) == (Source.FLEET, policy())
    assert result.state.fetched_at == START - HOUR
    assert fleet.asked == ["look", "late look"]
    assert counters.fleet_looks == {FleetLook.UNAVAILABLE: 1, FleetLook.LATE: 1}
    assert await around.store.load(GOOD)


async def test_the_network_fails_before_the_store_answers() -> None:
    """The answer is worth a wait, because there is no other."""
    around, fleet = Surroundings(), late_fleet()
    around.records[GOOD], around.policies[GOOD] = found(), DEAD
    fleet.late_looks.hold()
    result = sharing(around, fleet).find(GOOD)
    await around.gets.reached(GOOD)
    await settled()
    assert not result.done()
    fleet.late_looks.release()
    state = (await result).state
    assert state
    assert state.policy == policy()


@pytest.mark.parametrize("record", [found(), DnsFailureError("SERVFAIL")])
async def test_the_wait_ends(record: TxtAnswer) -> None:
    """A store that hangs costs as much as a relay that holds the lease, and the look-up ends."""
    around, fleet = Surroundings(), late_fleet()
    around.records[GOOD], around.policies[GOOD] = record, DEAD
    fleet.late_looks.hold()
    resolver = sharing(around, fleet, timeout=0.5)  # so the wait is 0.1 s
    state = await look_up(resolver)
    assert state.policy is None
    await wait_for_end(resolver)
    await settled()
    assert not [task for task in asyncio.all_tasks() if "look" in task.get_name()]


async def test_a_get_that_hangs() -> None:
    """The look-up is answered while the GET is under way, whose policy then comes in its place."""
    around, fleet = Surroundings(), late_fleet()
    around.publish(mx="mx9.good.test")
    around.https.hold()
    resolver = sharing(around, fleet)
    result = resolver.find(GOOD, lambda knowledge: knowledge.state is not None)
    state = (await result).state
    assert state
    assert (state.policy, around.gets.total) == (policy(), 1)
    around.https.release()
    await wait_for_end(resolver)
    state = await look_up(resolver)
    assert (state.policy, state.fetched_at) == (policy(mx="mx9.good.test"), START)
    assert len(fleet.offers) == 1
    row = await around.store.load(GOOD)
    assert row
    assert row.policy == policy(mx="mx9.good.test")


async def test_a_get_that_fails_after_the_answer() -> None:
    """What was taken stays in force, and the next GET waits for its turn."""
    around, fleet = Surroundings(), late_fleet()
    around.records[GOOD], around.policies[GOOD] = found(), DEAD
    around.https.hold()
    resolver = sharing(around, fleet)
    assert (await resolver.find(GOOD, lambda knowledge: knowledge.state is not None)).state
    around.https.release()
    await wait_for_end(resolver)
    state = await look_up(resolver)
    assert (state.policy, around.gets.total) == (policy(), 1)
    assert state.backoffs


async def test_a_get_that_is_quicker() -> None:
    """A store that hangs delays no policy of the network."""
    around, fleet, counters = Surroundings(), late_fleet(), Counters()
    around.publish()
    fleet.late_looks.hold()
    resolver = sharing(around, fleet, counters)
    assert (await look_up(resolver)).fetched_at == START
    await wait_for_end(resolver)
    await settled()
    assert counters.fleet_looks == {FleetLook.UNAVAILABLE: 1}
    assert fleet.asked == ["look", "late look"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_absence_asks_no_more() -> None:
    """The DNS has answered: most domains have no policy, and none costs a second look."""
    around, fleet = Surroundings(), late_fleet()
    around.records[GOOD] = NoRecordError("NXDOMAIN")
    resolver = sharing(around, fleet)
    assert (await look_up(resolver)).policy is None
    await wait_for_end(resolver)
    assert fleet.asked == ["look"]


@pytest.mark.parametrize(
    "offered",
    [shared(policy("testing")), shared(policy("none")), shared(policy_id="old")],
    ids=["testing", "none", "another id"],
)
async def test_the_rules_are_the_same(offered: SharedPolicy) -> None:
    """What would not be taken in time is not taken late (`mtasts.sharing`)."""
    around, fleet, counters = Surroundings(), late_fleet(offered), Counters()
    around.records[GOOD], around.policies[GOOD] = found(), DEAD
    assert (await look_up(sharing(around, fleet, counters))).policy is None
    assert counters.fleet_looks == {FleetLook.UNAVAILABLE: 1, FleetLook.NOT_USED: 1}


async def test_a_living_policy_is_left_alone() -> None:
    """A renewal that fails goes on with what this relay knows: it has something."""
    around, fleet = Surroundings(), FakeFleet(late=True)
    around.publish()
    resolver = sharing(around, fleet)
    fetched = await look_up(resolver)
    await wait_for_end(resolver)
    around.now += DAY + 1
    around.policies[GOOD] = DEAD
    fleet.policies[GOOD] = shared(age=HOUR, order=9)
    await resolver.renew(GOOD)
    assert (await look_up(resolver)).fetched_at == fetched.fetched_at
    assert fleet.asked == ["look", "late look", "look"]


async def test_in_a_back_off() -> None:
    """The Policy Host has failed lately: nothing is fetched, and the fleet may know the policy."""
    around, fleet = Surroundings(), FakeFleet(away=True)
    around.records[GOOD], around.policies[GOOD] = found(), DEAD
    resolver = sharing(around, fleet)
    assert (await look_up(resolver)).policy is None
    await wait_for_end(resolver)
    fleet.away, fleet.late, fleet.policies[GOOD] = False, True, shared(age=HOUR)
    around.now += 60
    await resolver.renew(GOOD)
    assert (await look_up(resolver)).policy == policy()
    assert (around.queries[GOOD], around.gets.total) == (2, 1)


async def test_a_row_that_is_late() -> None:
    """Beside a GET nothing is taken in place of a row that may hold more (`store.load` hangs)."""
    around, fleet = Surroundings(), late_fleet(shared(policy(mx="mx9.good.test"), age=60))
    around.publish()
    around.https.hold()
    store = SlowStore()
    await store.save(GOOD, restored(policy(), PolicyId("a"), START - DAY, START), START)
    store.gate.hold()
    around.store = store
    resolver = sharing(around, fleet)
    result = resolver.find(GOOD, lambda knowledge: knowledge.state is not None)
    await around.gets.reached(GOOD)
    await settled()
    assert not result.done()
    store.gate.release()
    state = (await result).state
    assert state
    assert state.policy == policy()


async def test_a_get_that_fails_during_the_save(caplog: pytest.LogCaptureFixture) -> None:
    """The disk is slow, the GET fails, the daemon ends: nothing is logged as lost."""
    around, fleet = Surroundings(), late_fleet()
    around.records[GOOD], around.policies[GOOD] = found(), DEAD
    around.https.hold()
    store = SlowStore()
    around.store = store
    store.saves.hold()
    resolver = sharing(around, fleet)
    result = resolver.find(GOOD)
    await around.gets.reached(GOOD)
    await settled()
    around.https.release()
    await settled()
    await resolver.close()
    assert (await result).state is not None
    await settled()
    gc.collect()
    assert "never retrieved" not in caplog.text


class SlowStore(MemoryStore):
    """A store that a test holds up."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.saves = Gate()

    async def load(self, domain: Domain) -> State | None:
        """See `Store`."""
        await self.gate.passed()
        return await super().load(domain)

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`."""
        await self.gate.passed()
        return await super().load_all(domains)

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`."""
        await self.saves.passed()
        await super().save(domain, state, asked_at)


@pytest.mark.parametrize(
    "hold", [lambda fleet: fleet.looks.hold, lambda fleet: fleet.late_looks.hold]
)
async def test_the_daemon_ends_meanwhile(hold: Callable[[FakeFleet], Callable[[], None]]) -> None:
    """No look and no GET goes on."""
    around, fleet = Surroundings(), late_fleet()
    around.publish()
    around.https.hold()
    hold(fleet)()
    resolver = sharing(around, fleet)
    result = resolver.find(GOOD)
    await around.queries.reached(GOOD)
    await settled()
    await resolver.close()
    assert (await result).state is None
    await settled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
