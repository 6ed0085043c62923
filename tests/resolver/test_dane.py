"""DANE verdicts beside policies: when they are looked up, what waits for them, what is stored."""

import asyncio
import logging

import pytest

from postfix_mta_sts.mtasts.dane import DaneKind, HostState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, MINUTE, Standing, State, standing
from postfix_mta_sts.mtasts.verdict import is_live
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import SUCCESS, Source, Stage
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.resolvers import OTHER, find_state, make_resolver, wait_for_all
from tests.support.surroundings import GOOD, UNANSWERED, Surroundings, found, signed


@pytest.fixture
def around() -> Surroundings:
    """Fake sources in which good.test has a policy and DANE."""
    around = Surroundings()
    around.publish()
    around.verdicts[GOOD] = signed()
    return around


def make_dane_resolver(
    around: Surroundings, *, timeout: float = 30, counters: Counters | None = None
) -> Resolver:
    """A resolver with DANE on."""
    resolver = make_resolver(around, timeout=timeout, counters=counters)
    resolver.use_dane(around.look_up_dane)
    return resolver


def kind(state: State | None) -> DaneKind | None:
    """The kind of the verdict in a state."""
    return state.dane.kind if state and state.dane else None


async def test_dane_is_looked_up_beside_the_txt_query(around: Surroundings) -> None:
    """For a new domain both start at once."""
    around.dns.hold()
    around.dane.hold()
    resolver = make_dane_resolver(around)
    look_up = asyncio.create_task(find_state(resolver, GOOD))
    await around.queries.reached(GOOD)
    await around.dane_queries.reached(GOOD)
    around.dns.release()
    await around.gets.reached(GOOD)
    around.dane.release()
    state = await look_up
    assert kind(state) is DaneKind.ALL
    assert state
    assert state.policy
    await resolver.close()


async def test_no_policy_is_served_without_a_verdict(around: Surroundings) -> None:
    """It might override DANE, which RFC 8461 §2 forbids."""
    around.dane.hold()
    resolver = make_dane_resolver(around)
    look_up = asyncio.create_task(find_state(resolver, GOOD))
    await around.gets.reached(GOOD)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not look_up.done()
    around.dane.release()
    assert kind(await look_up) is DaneKind.ALL
    await resolver.close()


async def test_single_flight(around: Surroundings) -> None:
    """200 look-ups cause one DANE look-up."""
    resolver = make_dane_resolver(around)
    states = await asyncio.gather(*(find_state(resolver, GOOD) for _ in range(200)))
    assert {kind(state) for state in states} == {DaneKind.ALL}
    assert (around.dane_queries[GOOD], around.queries[GOOD], around.gets[GOOD]) == (1, 1, 1)
    await resolver.close()


async def test_verdict_and_txt_record_are_renewed_independently(around: Surroundings) -> None:
    """When only the verdict is due, TXT is not queried, and the other way round."""
    around.records[GOOD] = found(ttl=3600)
    around.verdicts[GOOD] = signed(ttl=600)
    resolver = make_dane_resolver(around)
    await find_state(resolver, GOOD)
    await wait_for_all(resolver)
    around.now += 590
    assert resolver.cached(GOOD)
    await around.dane_queries.reached(GOOD, 2)
    await wait_for_all(resolver)
    assert (around.dane_queries[GOOD], around.queries[GOOD]) == (2, 1)
    around.verdicts[GOOD] = signed(ttl=86_400)
    around.now += 590
    await find_state(resolver, GOOD)
    await around.dane_queries.reached(GOOD, 3)
    await wait_for_all(resolver)
    around.now += 2450
    assert resolver.cached(GOOD)
    await around.queries.reached(GOOD, 2)
    await wait_for_all(resolver)
    assert (around.dane_queries[GOOD], around.queries[GOOD]) == (3, 2)
    await resolver.close()


async def test_a_look_up_waits_for_an_expired_verdict(around: Surroundings) -> None:
    """It does not wait for the TXT query, which continues after the reply."""
    around.verdicts[GOOD] = signed(ttl=60)
    resolver = make_dane_resolver(around)
    await find_state(resolver, GOOD)
    await wait_for_all(resolver)
    around.now += 2 * HOUR
    around.verdicts[GOOD] = signed(HostState.SKIPPED)
    around.dns.hold()
    assert resolver.cached(GOOD) is None
    assert kind(await find_state(resolver, GOOD)) is DaneKind.NONE
    around.dns.release()
    await wait_for_all(resolver)
    assert around.queries[GOOD] == 2
    await resolver.close()


async def test_a_dns_failure_does_not_replace_a_live_verdict(around: Surroundings) -> None:
    """While the DNS does not answer, the verdict stays until it expires."""
    around.verdicts[GOOD] = signed(ttl=3600)
    resolver = make_dane_resolver(around)
    await find_state(resolver, GOOD)
    await wait_for_all(resolver)
    around.verdicts[GOOD] = UNANSWERED
    around.now += 3500
    assert resolver.cached(GOOD)
    await around.dane_queries.reached(GOOD, 2)
    await wait_for_all(resolver)
    assert kind(await find_state(resolver, GOOD)) is DaneKind.ALL
    around.now += 200
    assert kind(await find_state(resolver, GOOD)) is DaneKind.FAILURE
    await wait_for_all(resolver)
    await resolver.close()


async def test_a_verdict_that_takes_too_long(around: Surroundings) -> None:
    """After the lookup timeout a look-up gets what is known: a policy, or that there is none."""
    before = make_dane_resolver(around)
    await find_state(before, GOOD)
    await before.close()
    around.now += DAY
    around.dane.hold()
    resolver = make_dane_resolver(around, timeout=0.5)
    state = await find_state(resolver, GOOD)
    assert state
    assert state.policy
    assert not is_live(state.dane, around.now)
    absent = await find_state(resolver, OTHER)
    assert (absent and absent.policy, kind(absent)) == (None, None)
    around.dane.release()
    await wait_for_all(resolver)
    assert kind(await find_state(resolver, GOOD)) is DaneKind.ALL
    await resolver.close()


async def test_restart(around: Surroundings) -> None:
    """A stored policy with a live verdict is served at once, also if the DNS does not answer."""
    before = make_dane_resolver(around)
    await find_state(before, GOOD)
    await before.close()
    around.dane.hold()
    around.dns.hold()
    resolver = make_dane_resolver(around)
    result = await resolver.find(GOOD)
    assert (kind(result.state), result.source) == (DaneKind.ALL, Source.STORE)
    await resolver.close()


async def test_a_new_verdict_is_stored(around: Surroundings) -> None:
    """The policy need not be fetched again for that."""
    around.verdicts[GOOD] = signed(ttl=600)
    resolver = make_dane_resolver(around)
    await find_state(resolver, GOOD)
    await wait_for_all(resolver)
    around.now += 700
    around.verdicts[GOOD] = signed(HostState.UNUSABLE)
    await find_state(resolver, GOOD)
    await wait_for_all(resolver)
    assert kind(await around.store.load(GOOD)) is DaneKind.UNUSABLE
    assert around.gets[GOOD] == 1
    await resolver.close()


async def test_a_domain_without_policy(around: Surroundings) -> None:
    """It has a verdict too, which is looked up once in its lifetime."""
    around.verdicts[OTHER] = signed(HostState.USABLE, 86_400)
    resolver = make_dane_resolver(around)
    for _ in range(3):
        assert kind(await find_state(resolver, OTHER)) is DaneKind.ALL
    assert (around.dane_queries[OTHER], around.queries[OTHER]) == (1, 1)
    await resolver.close()


async def test_on_and_off(around: Surroundings) -> None:
    """A verdict stays in memory until its time ends: nothing in it has changed."""
    around.verdicts[OTHER] = signed()
    resolver = make_dane_resolver(around)
    await find_state(resolver, OTHER)
    await wait_for_all(resolver)
    resolver.use_dane(None)
    resolver.use_dane(around.look_up_dane)
    assert resolver.cached(OTHER)
    around.now += HOUR
    resolver.use_dane(None)
    assert resolver.cached(OTHER) is None  # the absence, too, is an hour old
    await find_state(resolver, OTHER)
    resolver.use_dane(around.look_up_dane)
    assert resolver.cached(OTHER) is None
    assert kind(await find_state(resolver, OTHER)) is DaneKind.ALL
    assert (around.dane_queries[OTHER], around.queries[OTHER]) == (2, 2)
    await resolver.close()


async def test_other_name_servers(around: Surroundings) -> None:
    """Verdicts are dropped only if other name servers are asked from now on."""
    resolver = make_dane_resolver(around)
    resolver.use_dane(around.look_up_dane, "192.0.2.1")
    await find_state(resolver, GOOD)
    await wait_for_all(resolver)
    resolver.use_dane(around.look_up_dane, "192.0.2.1")
    assert resolver.cached(GOOD)
    resolver.use_dane(around.look_up_dane, "192.0.2.2")
    assert resolver.cached(GOOD) is None
    await resolver.close()


async def test_verdicts_in_use_are_renewed(around: Surroundings) -> None:
    """Only those of DANE domains; for other domains the next look-up looks up the verdict."""
    around.verdicts[GOOD] = signed(ttl=3600)
    resolver = make_dane_resolver(around)
    await find_state(resolver, GOOD)
    await find_state(resolver, OTHER)
    around.now += HOUR - MINUTE
    await resolver.renew_verdicts(asked_since=around.now)
    await wait_for_all(resolver)
    assert around.dane_queries.total == 2
    await resolver.renew_verdicts(asked_since=0)
    await around.dane_queries.reached(GOOD, 2)
    await wait_for_all(resolver)
    assert around.dane_queries[OTHER] == 1
    await resolver.close()


async def test_refresh_looks_up_the_verdict(around: Surroundings) -> None:
    """`refresh` renews everything that is known of a domain, whatever is due."""
    resolver = make_dane_resolver(around)
    await find_state(resolver, GOOD)
    around.verdicts[GOOD] = signed(HostState.UNUSABLE)
    assert kind(await resolver.refresh(GOOD)) is DaneKind.UNUSABLE
    await resolver.close()


class SlowNotes(MemoryStore):
    """A store that takes a few turns of the event loop to note what has changed."""

    async def note(self, domain: Domain, state: State) -> None:
        """See `Store`."""
        for _ in range(5):
            await asyncio.sleep(0)
        await super().note(domain, state)


async def test_a_verdict_that_comes_last_is_noted(around: Surroundings) -> None:
    """The attempt does not end before the store has the verdict."""
    around.store = SlowNotes()
    around.dane.hold()
    resolver = make_dane_resolver(around)
    look_up = asyncio.create_task(find_state(resolver, GOOD))
    await around.gets.reached(GOOD)
    for _ in range(20):
        await asyncio.sleep(0)
    assert await around.store.load(GOOD)
    around.dane.release()
    await look_up
    await wait_for_all(resolver)
    assert kind(await around.store.load(GOOD)) is DaneKind.ALL


async def test_verdicts_are_counted_and_logged(
    around: Surroundings, caplog: pytest.LogCaptureFixture
) -> None:
    """Each look-up is counted; a verdict that changes how mail is delivered is logged."""
    caplog.set_level(logging.INFO)
    counters = Counters()
    resolver = make_dane_resolver(around, counters=counters)
    await find_state(resolver, GOOD)
    await find_state(resolver, OTHER)
    around.verdicts[GOOD] = UNANSWERED
    around.now += DAY
    await find_state(resolver, GOOD)
    await resolver.close()
    assert counters.attempts[Stage.DANE, SUCCESS] == 2
    assert counters.attempts[Stage.DANE, DnsFailureError.code] == 1
    lines = [str(record.msg) for record in caplog.records if " DANE " in str(record.msg)]
    assert lines == [
        "good.test: DANE verdict kind=all reason=TLSA",
        'good.test: DANE verdict kind=failure reason="MX: no answer" old_kind=all',
    ]


def test_standing_of_a_state_without_verdict() -> None:
    """The lower of the standings of policy and verdict counts: a missing verdict is unknown."""
    state = State(None, None, 0.0, 100.0, 0.0, 100.0, 0.0)
    assert standing(state, 50.0) is Standing.FRESH
    assert standing(state, 50.0, dane=True) is Standing.UNKNOWN
