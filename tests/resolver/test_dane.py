"""DANE's verdict beside the policy: what is asked when, what waits for what, what is kept."""

import asyncio
import logging

import pytest

from postfix_mta_sts.mtasts.dane import DaneKind, HostState
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, MINUTE, Standing, State, standing
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import SUCCESS, Counters, Source, Stage
from postfix_mta_sts.values import replace
from tests.support.surroundings import GOOD, SILENT, Surroundings, signed

OTHER = parse_domain("other.test")


@pytest.fixture
def around() -> Surroundings:
    """Surroundings in which good.test has a policy, and DANE."""
    around = Surroundings()
    around.publish()
    around.verdicts[GOOD] = signed()
    return around


def resolver(
    around: Surroundings, counters: Counters | None = None, timeout: float = 30
) -> Resolver:
    """A resolver that does DANE."""
    made = Resolver(around.sources(), lookup_timeout=timeout, entries=100, counters=counters)
    made.use_dane(around.look_up_dane)
    return made


def kind(state: State | None) -> DaneKind | None:
    """What DANE says in a state."""
    return state.dane.kind if state and state.dane else None


async def ended(made: Resolver) -> None:
    """Return when no attempt is under way."""
    while made.under_way:  # noqa: ASYNC110 (nothing tells)
        await asyncio.sleep(0)


async def test_beside_the_policy(around: Surroundings) -> None:
    """A new domain's verdict is asked for while the TXT record and the policy are."""
    around.dns.hold()
    made = resolver(around)
    asked = asyncio.create_task(made.look_up(GOOD))
    await around.queries.reached(GOOD)
    await around.judged.reached(GOOD)
    around.dns.release()
    state = await asked
    assert kind(state) is DaneKind.ALL
    assert state
    assert state.policy
    await made.close()


async def test_nothing_is_served_without_a_verdict(around: Surroundings) -> None:
    """A policy alone is no answer: it might override DANE (RFC 8461 §2)."""
    around.dane.hold()
    made = resolver(around)
    asked = asyncio.create_task(made.look_up(GOOD))
    await around.gets.reached(GOOD)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not asked.done()
    around.dane.release()
    assert kind(await asked) is DaneKind.ALL
    await made.close()


async def test_single_flight(around: Surroundings) -> None:
    """However many ask, DANE is asked for once."""
    made = resolver(around)
    states = await asyncio.gather(*(made.look_up(GOOD) for _ in range(200)))
    assert {kind(state) for state in states} == {DaneKind.ALL}
    assert (around.judged[GOOD], around.queries[GOOD], around.gets[GOOD]) == (1, 1, 1)
    await made.close()


async def test_lives_of_their_own(around: Surroundings) -> None:
    """When only the verdict is due, the record is not asked for; and the other way round."""
    around.publish(GOOD, "a")
    around.records[GOOD] = replace(around.records[GOOD], ttl=3600)  # type: ignore[type-var] # found
    around.verdicts[GOOD] = signed(ttl=600)
    made = resolver(around)
    await made.look_up(GOOD)
    around.now += 590
    assert made.cached(GOOD)
    await around.judged.reached(GOOD, 2)
    await ended(made)
    assert (around.judged[GOOD], around.queries[GOOD]) == (2, 1)
    around.verdicts[GOOD] = signed(ttl=86_400)
    around.now += 590
    await made.look_up(GOOD)
    await around.judged.reached(GOOD, 3)
    await ended(made)
    around.now += 2450
    assert made.cached(GOOD)
    await around.queries.reached(GOOD, 2)
    await ended(made)
    assert (around.judged[GOOD], around.queries[GOOD]) == (3, 2)
    await made.close()


async def test_a_verdict_that_has_run_out_is_waited_for(around: Surroundings) -> None:
    """But not the record, whose turn comes behind the reply."""
    around.verdicts[GOOD] = signed(ttl=60)
    made = resolver(around)
    await made.look_up(GOOD)
    around.now += 2 * HOUR
    around.verdicts[GOOD] = signed(HostState.SKIPPED)
    around.dns.hold()
    assert made.cached(GOOD) is None
    assert kind(await made.look_up(GOOD)) is DaneKind.NONE
    around.dns.release()
    await ended(made)
    assert around.queries[GOOD] == 2
    await made.close()


async def test_a_failure_takes_nothing_back(around: Surroundings) -> None:
    """While the DNS is silent the verdict that there was stays, for its time."""
    around.verdicts[GOOD] = signed(ttl=3600)
    made = resolver(around)
    await made.look_up(GOOD)
    around.verdicts[GOOD] = SILENT
    around.now += 3500
    assert made.cached(GOOD)
    await around.judged.reached(GOOD, 2)
    await ended(made)
    assert kind(await made.look_up(GOOD)) is DaneKind.ALL
    around.now += 200
    assert kind(await made.look_up(GOOD)) is DaneKind.FAILURE
    await ended(made)
    await made.close()


async def test_a_verdict_that_does_not_come(around: Surroundings) -> None:
    """In the end the policy on file is better than nothing; without one there is no answer."""
    before = resolver(around)
    await before.look_up(GOOD)
    await before.close()
    around.now += DAY
    around.dane.hold()
    made = resolver(around, timeout=0.5)
    state = await made.look_up(GOOD)
    assert state
    assert (bool(state.policy), kind(state)) == (True, None)
    assert await made.look_up(OTHER) is None
    around.dane.release()
    await ended(made)
    assert kind(await made.look_up(GOOD)) is DaneKind.ALL
    await made.close()


async def test_restart(around: Surroundings) -> None:
    """What is on file is served at once while its verdict lives, whatever the DNS does."""
    before = resolver(around)
    await before.look_up(GOOD)
    await before.close()
    around.dane.hold()
    around.dns.hold()
    made = resolver(around)
    found = await made.find(GOOD)
    assert (kind(found.state), found.source) == (DaneKind.ALL, Source.STORE)
    await made.close()


async def test_a_new_verdict_is_on_file(around: Surroundings) -> None:
    """Also where the policy was not fetched again."""
    around.verdicts[GOOD] = signed(ttl=600)
    made = resolver(around)
    await made.look_up(GOOD)
    around.now += 700
    around.verdicts[GOOD] = signed(HostState.UNUSABLE)
    await made.look_up(GOOD)
    await ended(made)
    assert kind(await around.store.load(GOOD)) is DaneKind.UNUSABLE
    assert around.gets[GOOD] == 1
    await made.close()


async def test_a_domain_without_policy(around: Surroundings) -> None:
    """Has a verdict all the same, which is asked for once while it lives."""
    around.verdicts[OTHER] = signed(HostState.USABLE, 86_400)
    made = resolver(around)
    for _ in range(3):
        assert kind(await made.look_up(OTHER)) is DaneKind.ALL
    assert (around.judged[OTHER], around.queries[OTHER]) == (1, 1)
    await made.close()


async def test_on_and_off(around: Surroundings) -> None:
    """Turned off, verdicts count no more; turned on, nothing known before is served without."""
    around.verdicts[OTHER] = signed()
    made = resolver(around)
    await made.look_up(OTHER)
    made.use_dane(None)
    assert kind(await made.look_up(OTHER)) is None
    made.use_dane(around.look_up_dane)
    assert made.cached(OTHER) is None
    assert kind(await made.look_up(OTHER)) is DaneKind.ALL
    assert (around.judged[OTHER], around.queries[OTHER]) == (2, 1)
    await made.close()


async def test_verdicts_in_use_are_renewed(around: Surroundings) -> None:
    """Those of DANE domains that were asked for; without DANE the next look-up will ask."""
    around.verdicts[GOOD] = signed(ttl=3600)
    made = resolver(around)
    await made.look_up(GOOD)
    await made.look_up(OTHER)
    around.now += HOUR - MINUTE
    made.renew_verdicts(asked_since=around.now)
    await ended(made)
    assert around.judged.total == 2
    made.renew_verdicts(asked_since=0)
    await around.judged.reached(GOOD, 2)
    await ended(made)
    assert around.judged[OTHER] == 1
    await made.close()


async def test_refresh_asks_for_it_too(around: Surroundings) -> None:
    """An administrator who wants to see a domain anew sees all of it anew."""
    made = resolver(around)
    await made.look_up(GOOD)
    around.verdicts[GOOD] = signed(HostState.UNUSABLE)
    assert kind(await made.refresh(GOOD)) is DaneKind.UNUSABLE
    await made.close()


async def test_counted_and_logged(around: Surroundings, caplog: pytest.LogCaptureFixture) -> None:
    """Each verdict is counted; what it changes of how mail goes is a line of the log."""
    caplog.set_level(logging.INFO)
    counters = Counters()
    made = resolver(around, counters)
    await made.look_up(GOOD)
    await made.look_up(OTHER)
    around.verdicts[GOOD] = SILENT
    around.now += DAY
    await made.look_up(GOOD)
    await made.close()
    assert counters.attempts[Stage.DANE, SUCCESS] == 2
    assert counters.attempts[Stage.DANE, DnsFailureError.code] == 1
    lines = [str(record.msg) for record in caplog.records if " DANE " in str(record.msg)]
    assert lines == [
        "good.test: DANE verdict kind=all reason=TLSA",
        'good.test: DANE verdict kind=failure reason="MX: no answer" old_kind=all',
    ]


def test_standing() -> None:
    """A state is worth what the lesser of policy and verdict is."""
    state = State(None, None, 0.0, 100.0, 0.0, 100.0, 0.0)
    assert standing(state, 50.0) is Standing.FRESH
    assert standing(state, 50.0, dane=True) is Standing.UNKNOWN
