"""What an attempt asks of the fleet, and what it does with the answers."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DiscoveryError,
    DnsFailureError,
    NoRecordError,
    OwnFaultError,
    StatusError,
)
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, Discovered, State, restored
from postfix_mta_sts.mtasts.policy import Mode, Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.sharing import SharedPolicy
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import FleetClaim, FleetLook, Source
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.fleet.requests import Held, Unavailable
from postfix_mta_sts.store.memory import MemoryStore
from postfix_mta_sts.values import replace
from tests.support.fleet import AWAY, FakeFleet, shared
from tests.support.resolvers import look_up, make_resolver, settled, sharing, wait_for_end
from tests.support.surroundings import GOOD, START, Surroundings, found, policy, signed
from tests.support.tally import Gate

DEAD: Final = StatusError("HTTP 503")
"""What a Policy Host answers that does not work."""


async def test_the_policy_of_another_relay() -> None:
    """It takes the place of the GET: a relay that knows nothing knows what the fleet knows (b)."""
    around, counters = Surroundings(), Counters()
    around.records[GOOD], around.policies[GOOD] = found(), DEAD
    fleet = FakeFleet({GOOD: shared(age=HOUR)})
    resolver = sharing(around, fleet, counters)
    result = await resolver.find(GOOD)
    assert result.state
    assert (result.source, result.state.policy) == (Source.FLEET, policy())
    assert (result.state.fetched_at, result.state.expires_at) == (
        START - HOUR,
        START - HOUR + policy().max_age,
    )
    await wait_for_end(resolver)
    assert around.gets.total == 0
    assert (fleet.asked, fleet.offers) == (["look"], [])
    assert counters.fleet_looks == {FleetLook.ADOPTED: 1}


async def test_an_adopted_policy_is_on_file_before_it_answers() -> None:
    """It is saved as a fetched one: after a crash, a relay needs no fleet."""
    around = Surroundings()
    around.records[GOOD] = found()
    resolver = sharing(around, FakeFleet({GOOD: shared(age=60)}))
    await look_up(resolver)
    row = await around.store.load(GOOD)
    assert row
    assert (row.policy, row.fetched_at) == (policy(), START - 60)


async def test_the_look_runs_beside_the_txt_query() -> None:
    """Neither waits for the other."""
    around, fleet = Surroundings(), FakeFleet()
    around.publish()
    around.dns.hold()
    fleet.looks.hold()
    resolver = sharing(around, fleet)
    result = resolver.find(GOOD)
    await around.queries.reached(GOOD)
    await settled()
    assert fleet.asked == ["look"]
    around.dns.release()
    fleet.looks.release()
    assert (await result).state


async def test_a_name_server_that_is_slow_makes_no_policy_younger() -> None:
    """A policy that was read before the TXT query ended has become older meanwhile."""
    around, fleet = Surroundings(), FakeFleet({GOOD: shared(age=60)})
    around.publish()
    around.dns.hold()
    resolver = sharing(around, fleet)
    result = resolver.find(GOOD)
    await around.queries.reached(GOOD)
    await settled()
    around.now += 20
    around.dns.release()
    state = (await result).state
    assert state
    assert state.fetched_at == START - 60


@pytest.mark.parametrize("error", [NoRecordError("NXDOMAIN"), DnsFailureError("SERVFAIL")])
async def test_a_record_that_is_absent_or_silent(error: DiscoveryError) -> None:
    """A living policy of the fleet is served all the same, as one on file would be."""
    around, fleet = Surroundings(), FakeFleet({GOOD: shared()})
    around.records[GOOD] = error
    state = await look_up(sharing(around, fleet))
    assert state.policy == policy()
    assert "claim" not in fleet.asked


async def test_remembered_look_ups_ask_nothing() -> None:
    """Neither a hit in memory, nor a recheck, nor a row on file asks the fleet (4)."""
    around, fleet = Surroundings(), FakeFleet()
    around.publish()
    resolver = sharing(around, fleet)
    await look_up(resolver)
    await wait_for_end(resolver)
    fleet.asked.clear()
    around.now += 301
    for _ in range(3):
        assert resolver.cached(GOOD)
    await wait_for_end(resolver)
    assert around.queries[GOOD] == 2
    other = sharing(around, fleet)
    await look_up(other)
    await wait_for_end(other)
    assert fleet.asked == []


async def test_a_fetch_is_offered_behind_the_reply() -> None:
    """The policy is on file, then the look-up is answered, then the fleet gets both."""
    around, fleet = Surroundings(), FakeFleet()
    around.publish()
    resolver = sharing(around, fleet)
    result = resolver.find(GOOD)
    state = (await result).state
    await wait_for_end(resolver)
    assert fleet.asked == ["look", "claim"]
    assert fleet.offers == [(GOOD, state, START, "token")]
    assert fleet.released == []


@pytest.mark.parametrize("record", [found(), NoRecordError("NXDOMAIN"), DnsFailureError("?")])
async def test_a_failed_attempt_gives_the_lease_back(record: Discovered | DiscoveryError) -> None:
    """Also if the Policy Host does not answer; without a GET there was no lease."""
    around, fleet = Surroundings(), FakeFleet()
    around.records[GOOD], around.policies[GOOD] = record, DEAD
    resolver = sharing(around, fleet)
    assert (await look_up(resolver)).policy is None
    await wait_for_end(resolver)
    assert fleet.released == ["token"] * around.gets.total
    assert fleet.offers == []


async def test_the_lease_is_given_back_before_a_slow_verdict() -> None:
    """Other relays do not wait for the DANE look-up of this one."""
    around, fleet = Surroundings(verdicts={GOOD: signed()}), FakeFleet()
    around.records[GOOD], around.policies[GOOD] = found(), DEAD
    around.dane.hold()
    resolver = sharing(around, fleet)
    resolver.use_dane(around.look_up_dane)
    result = resolver.find(GOOD)
    await around.gets.reached(GOOD)
    await settled()
    assert (result.done(), fleet.released) == (False, ["token"])
    around.dane.release()
    await result


async def test_a_cancelled_attempt_gives_the_lease_back() -> None:
    """The end of the daemon, or of an attempt for another one, leaves no lease behind."""
    around, fleet = Surroundings(), FakeFleet()
    around.publish()
    around.https.hold()
    resolver = sharing(around, fleet)
    result = resolver.find(GOOD)
    await around.gets.reached(GOOD)
    await resolver.close()
    assert (await result).time_is_up
    assert fleet.released == ["token"]


async def test_an_attempt_is_cancelled_while_it_looks() -> None:
    """The look ends with it."""
    around, fleet = Surroundings(), FakeFleet()
    around.publish()
    fleet.looks.hold()
    resolver = sharing(around, fleet)
    result = resolver.find(GOOD)
    await around.queries.reached(GOOD)
    await settled()
    await resolver.close()
    assert (await result).state is None
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("look ")]


async def test_a_relay_that_fetches_meanwhile() -> None:
    """Its policy comes in place of the lease, and nothing is fetched twice (a)."""
    around, counters = Surroundings(), Counters()
    around.records[GOOD] = found()
    fleet = FakeFleet(held={GOOD: Held("", shared(age=0, order=7))})
    state = await look_up(sharing(around, fleet, counters, timeout=5))
    assert state.policy == policy()
    assert around.gets.total == 0
    assert fleet.claimed == [(0, 1.0, 0.25)]
    assert counters.fleet_claims == {FleetClaim.SHARED: 1}


async def test_a_lease_beside_a_policy_is_given_back() -> None:
    """Another relay has fetched between the look and the claim."""
    around = Surroundings()
    around.records[GOOD] = found()
    fleet = FakeFleet(held={GOOD: Held("token", shared(age=0, order=7))})
    resolver = sharing(around, fleet)
    assert (await look_up(resolver)).policy
    await wait_for_end(resolver)
    assert (fleet.released, fleet.offers) == (["token"], [])


async def test_a_wait_in_vain() -> None:
    """The holder of the lease does not come: this relay fetches, and offers without a lease (h)."""
    around, fleet, counters = Surroundings(), FakeFleet(held={GOOD: Held("", None)}), Counters()
    around.publish()
    resolver = sharing(around, fleet, counters)
    assert (await look_up(resolver)).policy
    await wait_for_end(resolver)
    assert fleet.claimed == [(0, 2.0, 0.25)]
    assert [token for *_, token in fleet.offers] == [""]
    assert counters.fleet_claims == {FleetClaim.IN_VAIN: 1}


async def test_a_store_that_is_away_gets_no_claim() -> None:
    """The policy is fetched as without a fleet (4); the second look is beside the GET."""
    around, fleet, counters = Surroundings(), FakeFleet(away=True), Counters()
    around.publish()
    resolver = sharing(around, fleet, counters)
    assert (await look_up(resolver)).policy
    await wait_for_end(resolver)
    assert fleet.asked == ["look", "late look"]
    assert len(fleet.offers) == 1
    assert counters.fleet_looks == {FleetLook.UNAVAILABLE: 1}


async def test_a_claim_that_fails() -> None:
    """The policy is fetched without a lease."""
    around, fleet, counters = Surroundings(), FakeFleet(held={GOOD: AWAY}), Counters()
    around.publish()
    assert (await look_up(sharing(around, fleet, counters))).policy
    assert counters.fleet_claims == {FleetClaim.UNAVAILABLE: 1}
    assert isinstance(AWAY, Unavailable)


@pytest.mark.parametrize(("seconds", "claims"), [(0.1, [(0, 2.0, 0.15)]), (0.25, []), (9.0, [])])
async def test_one_budget_for_all_questions(
    seconds: float, claims: list[tuple[int, float, float]]
) -> None:
    """What the look took is not there for the claim."""
    around, fleet = Surroundings(), FakeFleet(seconds=seconds)
    around.publish()
    assert (await look_up(sharing(around, fleet))).policy
    assert [(seen, wait, round(left, 6)) for seen, wait, left in fleet.claimed] == claims


async def test_a_record_that_is_refused() -> None:
    """It counts, and the policy is fetched."""
    around, fleet, counters = Surroundings(), FakeFleet(refused="not signed"), Counters()
    around.publish()
    assert (await look_up(sharing(around, fleet, counters))).policy
    assert counters.fleet_looks == {FleetLook.REFUSED: 1}


@pytest.mark.parametrize(
    "offered",
    [shared(policy("testing")), shared(policy("none")), shared(policy_id="old")],
    ids=["testing", "none", "another id"],
)
async def test_a_policy_that_is_not_adopted(offered: SharedPolicy) -> None:
    """The relay fetches for itself, and waits only for another one (`mtasts.sharing`)."""
    around, counters = Surroundings(), Counters()
    around.publish(mx="mx7.good.test")
    fleet = FakeFleet({GOOD: replace(offered, order=42)})
    state = await look_up(sharing(around, fleet, counters))
    assert state.policy == policy(mx="mx7.good.test")
    assert [seen for seen, *_ in fleet.claimed] == [42]
    assert counters.fleet_looks == {FleetLook.NOT_USED: 1}


async def test_a_renewal_takes_what_another_relay_has_renewed() -> None:
    """A due fetch asks the fleet first: one GET serves all (5)."""
    around, fleet = Surroundings(), FakeFleet()
    around.publish()
    resolver = sharing(around, fleet)
    await look_up(resolver)
    await wait_for_end(resolver)
    around.now += DAY + 1
    fleet.policies[GOOD] = shared(age=HOUR, order=9)
    await resolver.renew(GOOD)
    state = await look_up(resolver)
    assert (state.fetched_at, around.gets.total) == (around.now - HOUR, 1)
    row = await around.store.load(GOOD)
    assert row
    assert row.fetched_at == state.fetched_at


async def test_a_renewal_that_nobody_has_made() -> None:
    """The old policy of the fleet is no news: this relay fetches, with the lease."""
    around, fleet = Surroundings(), FakeFleet()
    around.publish()
    resolver = sharing(around, fleet)
    await look_up(resolver)
    await wait_for_end(resolver)
    around.now += DAY + 1
    fleet.policies[GOOD] = shared(age=DAY + 1, order=9)
    await resolver.renew(GOOD)
    assert (await look_up(resolver)).fetched_at == around.now
    assert (around.gets.total, [seen for seen, *_ in fleet.claimed]) == (2, [0, 9])


async def test_an_old_policy_of_the_fleet_is_served_and_renewed() -> None:
    """One that is due answers the look-up, and is fetched behind the reply."""
    around, fleet = Surroundings(), FakeFleet({GOOD: shared(age=2 * DAY)})
    around.publish()
    around.https.hold()
    resolver = sharing(around, fleet)
    result = resolver.find(GOOD, lambda knowledge: knowledge.state is not None)
    state = (await result).state
    assert state
    assert state.fetched_at == START - 2 * DAY
    around.https.release()
    await wait_for_end(resolver)
    assert (await look_up(resolver)).fetched_at == START
    assert len(fleet.offers) == 1


async def test_what_a_stolen_key_keeps_in_force() -> None:
    """A policy that is signed again before each fetch stays, until a command fetches it."""
    around, fleet = Surroundings(), FakeFleet({GOOD: shared(age=0)})
    around.publish()
    resolver = sharing(around, fleet)
    await look_up(resolver)
    around.publish(policy_id="b", mx="mx9.good.test")
    for order in range(2, 12):
        around.now += DAY
        fleet.policies[GOOD] = shared(policy_id="b", age=0, order=order)
        await resolver.renew(GOOD)
    assert around.gets.total == 0
    assert (await look_up(resolver)).policy == policy()
    assert await resolver.refresh(GOOD)
    assert (await look_up(resolver)).policy == policy(mx="mx9.good.test")


async def test_a_refresh_fetches_for_itself() -> None:
    """A command that fetches in any case neither looks nor claims, and offers what it got."""
    around, fleet = Surroundings(), FakeFleet({GOOD: shared()})
    around.publish(mx="mx9.good.test")
    state = await sharing(around, fleet).refresh(GOOD)
    assert state
    assert state.policy == policy(mx="mx9.good.test")
    assert (fleet.asked, len(fleet.offers)) == ([], 1)


async def test_a_fault_of_the_network_process() -> None:
    """The look that was under way ends; nothing is adopted without a TXT query."""
    around, fleet = Surroundings(), FakeFleet({GOOD: shared()})
    around.records[GOOD] = OwnFaultError("the network process has ended")
    fleet.looks.hold()
    resolver = sharing(around, fleet)
    assert (await resolver.find(GOOD)).state is None
    await wait_for_end(resolver)
    await settled()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("look ")]


ALWAYS: Final = 1_000
"""Reads that fail."""


class FailingStore(MemoryStore):
    """A store whose next reads fail, or are held back; it notes what is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.gate = Gate()
        self.saved: list[State] = []

    async def load(self, domain: Domain) -> State | None:
        """See `Store`."""
        await self._read()
        return await super().load(domain)

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`."""
        await self._read()
        return await super().load_all(domains)

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`."""
        self.saved.append(state)
        await super().save(domain, state, asked_at)

    async def _read(self) -> None:
        await self.gate.passed()
        self.failures -= 1
        if self.failures >= 0:
            raise StoreError("the disk does not answer")


class HangingStore(MemoryStore):
    """A store on a disk that hangs."""

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`."""
        await asyncio.Event().wait()
        return await super().load_all(domains)


async def test_a_row_that_is_late() -> None:
    """It may hold more than the fleet: the relay fetches for itself, and does not wait for it."""
    around, fleet = Surroundings(store=HangingStore(), read_patience=0.0), FakeFleet()
    around.publish()
    fleet.policies[GOOD] = shared(policy(mx="mx8.good.test"))
    state = await look_up(sharing(around, fleet))
    assert state.policy == policy()


ROW: Final = restored(policy(), PolicyId("a"), START - HOUR, START + HOUR)
"""What this relay had known before it was started again."""
OTHER_MX: Final = policy(mx="mx8.good.test")
"""A policy that a relay which knows `ROW` does not take from the fleet."""


async def fails_to_read(times: int, row: State | None = ROW) -> tuple[Surroundings, FailingStore]:
    """A relay that cannot read its row so many times."""
    store = FailingStore()
    if row:
        await store.save(GOOD, row, START)
    store.failures = times
    return Surroundings(store=store), store


async def test_a_row_that_cannot_be_read() -> None:
    """The fleet's policy does not replace it: the relay fetches for itself."""
    around, store = await fails_to_read(ALWAYS)
    around.publish()
    fleet = FakeFleet({GOOD: shared(OTHER_MX, age=0)})
    resolver = sharing(around, fleet)
    state = await look_up(resolver)
    await wait_for_end(resolver)
    assert state.policy == policy()
    assert (around.gets.total, "claim" in fleet.asked) == (1, False)
    assert store.saved == [ROW, state]


async def test_a_row_that_can_be_read_the_second_time() -> None:
    """The fleet's policy is compared with it, and would take other mail servers away."""
    around, store = await fails_to_read(2)
    around.publish()
    around.policies[GOOD] = DEAD
    around.now += HOUR
    state = await look_up(sharing(around, FakeFleet({GOOD: shared(OTHER_MX, age=0)})))
    assert state.policy == policy()
    assert store.saved == [ROW]


@pytest.mark.parametrize("error", [NoRecordError("NXDOMAIN"), DnsFailureError("SERVFAIL"), None])
async def test_a_row_that_cannot_be_read_and_a_domain_that_says_nothing(
    error: DiscoveryError | None,
) -> None:
    """The fleet's policy comes in place of nothing, in memory alone; the next attempt fetches."""
    around, store = await fails_to_read(ALWAYS)
    around.records[GOOD], around.policies[GOOD] = error or found(), DEAD
    resolver = sharing(around, FakeFleet({GOOD: shared(OTHER_MX, age=0)}))
    assert (await look_up(resolver)).policy == OTHER_MX
    await wait_for_end(resolver)
    assert (around.gets.total, store.saved) == (1, [ROW])

    around.now += HOUR
    around.policies[GOOD] = policy(mx="mx9.good.test")
    assert resolver.cached(GOOD)
    await wait_for_end(resolver)
    assert (await look_up(resolver)).policy == policy(mx="mx9.good.test")
    assert store.saved[1:] == [(await look_up(resolver))]


async def test_a_row_that_is_read_after_the_fleet_was_asked() -> None:
    """What came in its place is no licence: the next policy of the fleet is compared with it."""
    around, store = await fails_to_read(ALWAYS)
    around.records[GOOD] = DnsFailureError("SERVFAIL")
    around.policies[GOOD] = DEAD
    resolver = sharing(around, FakeFleet({GOOD: shared(OTHER_MX, age=0)}))
    assert (await look_up(resolver)).policy == OTHER_MX
    await wait_for_end(resolver)
    store.failures = 0
    around.now += HOUR / 2
    assert resolver.cached(GOOD)
    await wait_for_end(resolver)
    assert (around.gets.total, store.saved) == (2, [ROW])


async def test_back_offs_are_those_in_memory() -> None:
    """Of an id whose GET has just failed, not those of an expired row."""
    around, fleet = Surroundings(), FakeFleet()
    expired = restored(policy(), PolicyId("a"), START - 8 * DAY, START - 7 * DAY)
    await around.store.save(GOOD, expired, START)
    around.records[GOOD], around.policies[GOOD] = found("b"), DEAD
    resolver = sharing(around, fleet)
    await look_up(resolver)
    await wait_for_end(resolver)
    around.records[GOOD] = NoRecordError("NXDOMAIN")
    fleet.policies[GOOD] = shared(age=0)
    await resolver.renew(GOOD)
    state = await look_up(resolver)
    assert state.policy == policy()
    assert [each.policy_id for each in state.backoffs] == ["b"]


async def test_a_late_row_and_a_dead_policy_host() -> None:
    """The relay did not wait for the row, and nothing came: it asks the fleet after all."""
    around, store = await fails_to_read(0, None)
    around.read_patience = 0.0
    around.records[GOOD], around.policies[GOOD] = found(), DEAD
    around.https.hold()
    store.gate.hold()
    fleet, counters = FakeFleet({GOOD: shared(age=60)}), Counters()
    resolver = sharing(around, fleet, counters)
    result = resolver.find(GOOD)
    await around.gets.reached(GOOD)
    around.now += 30
    store.gate.release()
    around.https.release()
    state = (await result).state
    await wait_for_end(resolver)
    assert state
    assert (state.policy, state.fetched_at) == (policy(), START - 60)
    assert state.failure
    assert state.failure.code == DEAD.code
    assert counters.fleet_looks == {FleetLook.ADOPTED: 1}
    assert [(each.policy, each.fetched_at) for each in store.saved] == [(policy(), START - 60)]


async def test_a_refresh_of_a_dead_policy_host_asks_no_fleet() -> None:
    """A command that fetches in any case says what it got."""
    around, fleet = Surroundings(), FakeFleet({GOOD: shared()})
    around.records[GOOD], around.policies[GOOD] = found(), DEAD
    state = await sharing(around, fleet).refresh(GOOD)
    assert state
    assert (state.policy, fleet.asked) == (None, [])


async def test_without_a_fleet_any_more() -> None:
    """After a reload without `fleet.url` nothing is asked."""
    around, fleet = Surroundings(), FakeFleet()
    around.publish()
    resolver = sharing(around, fleet)
    resolver.use_fleet(None)
    assert (await look_up(resolver)).policy
    assert (fleet.asked, fleet.offers) == ([], [])


async def test_the_budget_is_less_than_the_lookup_timeout() -> None:
    """However long the store may take, there is time to fetch before the look-up is answered."""
    around, fleet = Surroundings(), FakeFleet(budget=2.0)
    around.publish()
    assert (await look_up(sharing(around, fleet, timeout=5))).policy
    assert fleet.claimed == [(0, 1.0, 1.0)]


_POLICIES: Final = st.builds(
    policy,
    st.sampled_from(["enforce", "testing", "none"]),
    st.sampled_from([0, 60, 86_400, 604_800]),
    st.sampled_from(["mx1.good.test", "mx2.good.test"]),
)
_SHARED: Final = st.none() | st.builds(
    shared,
    _POLICIES.filter(lambda each: each.max_age > 0),
    st.sampled_from("ab"),
    st.sampled_from([0.0, 59.0, 50_000.0]),
    st.integers(1, 3),
)
_RECORDS: Final = st.sampled_from(
    [found("a"), found("b"), NoRecordError("NXDOMAIN"), DnsFailureError("SERVFAIL")]
)
_ON_FILE: Final = st.none() | st.builds(
    restored,
    _POLICIES,
    st.sampled_from([PolicyId("a"), PolicyId("b")]),
    st.sampled_from([START - 90_000, START - 30]),
    st.sampled_from([START - 10, START + 3600]),
)


@given(
    seen=_SHARED,
    held=_SHARED,
    token=st.sampled_from(["", "token"]),
    record=_RECORDS,
    policy_host=st.just(DEAD) | _POLICIES,
    row=_ON_FILE,
    failures=st.sampled_from([0, 1, 2, 3, ALWAYS]),
    renew=st.booleans(),
    late=st.booleans(),
)
def test_the_fleet_never_weakens(
    seen: SharedPolicy | None,
    held: SharedPolicy | None,
    token: str,
    record: Discovered | DiscoveryError,
    policy_host: StatusError | Policy,
    row: State | None,
    failures: int,
    *,
    renew: bool,
    late: bool,
) -> None:
    """Whatever the fleet says, a policy that a relay alone would enforce is enforced, and longer.

    Unless it has fetched another one because of it: what the domain says itself counts. A row that
    cannot be read is replaced by nothing but what this relay has fetched. And a lease that was
    taken is given back.
    """

    async def after(fleet: FakeFleet | None) -> tuple[State | None, int]:
        around, store = await fails_to_read(failures, row)
        around.records[GOOD], around.policies[GOOD] = record, policy_host
        resolver = make_resolver(around)
        resolver.use_fleet(fleet)
        await (resolver.renew(GOOD) if renew else look_up(resolver))
        await wait_for_end(resolver)
        if failures == ALWAYS:
            assert {each.policy for each in store.saved} <= {row and row.policy, policy_host}
        store.failures = 0
        entry = resolver.entry(GOOD)
        return entry.state if entry else await store.load(GOOD), around.gets.total

    fleet = FakeFleet({GOOD: seen} if seen else {}, late=late, held={GOOD: Held(token, held)})
    alone, gets_alone = asyncio.run(after(None))
    together, gets = asyncio.run(after(fleet))
    if protects(alone):
        assert protects(together) or (isinstance(policy_host, Policy) and gets > gets_alone)
    given_back = [*fleet.released, *(each for *_, each in fleet.offers if each)]
    assert given_back == [token] * (bool(token) and "claim" in fleet.asked)


def protects(state: State | None) -> bool:
    """Whether a state makes mail secure now."""
    policy = state.policy if state else None
    return bool(state and policy and policy.mode is Mode.ENFORCE and state.expires_at > START)
