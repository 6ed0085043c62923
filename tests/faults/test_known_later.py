"""What is known stays known when an attempt takes long, or has failed: A12, E1 and their kind.

The sources are fakes, so that each answer comes when the test says so.
"""

import asyncio

from postfix_mta_sts.mtasts.errors import DeadlineError, DnsFailureError
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR
from tests.support.answering import make, stored
from tests.support.replies import SECURE, ask
from tests.support.resolvers import wait_for_all
from tests.support.surroundings import GOOD, Surroundings, found, policy, signed

DANE_ONLY = b"12:OK dane-only,"
YEAR = 365 * DAY


async def test_a_look_up_that_crosses_the_tick_of_the_minute() -> None:
    """The policy counts as asked for, so that it is renewed (A12)."""
    around = Surroundings()
    around.publish()
    around.https.hold()
    resolver, replies = make(around, rule=None)
    waiting = asyncio.create_task(ask(replies))
    await around.gets.reached(GOOD)
    await around.store.touch(resolver.usage.take())
    around.https.release()
    assert await waiting == SECURE
    row = await around.store.row(GOOD)
    assert row
    assert row.asked_at == around.now
    await resolver.close()


async def test_a_renewal_that_fails_is_known_after_it() -> None:
    """Its back-off holds although nobody asks for the domain, also after a restart (E1)."""
    around = Surroundings()
    await stored(around)
    around.now += 2 * HOUR
    around.records[GOOD] = found("b")
    around.policies[GOOD] = DeadlineError("timed out after 60 s")
    for _ in range(3):
        resolver, replies = make(around, rule=None)
        await resolver.renew(GOOD)
        failing = await resolver.states(lambda state: state.failure is not None)
        assert [domain for domain, _ in failing] == [GOOD]
        assert await ask(replies) == SECURE
        await resolver.close()
    assert around.gets[GOOD] == 2
    state = await around.store.load(GOOD)
    assert state
    assert state.failure
    assert (state.policy, state.failure.count) == (policy(), 1)


async def test_a_verdict_that_expires_during_a_long_attempt() -> None:
    """A policy in the store does not override DANE because the Policy Host is slow."""
    around = Surroundings(verdicts={GOOD: signed(ttl=60)})
    await stored(around)
    around.records[GOOD] = found("b")
    around.https.hold()
    resolver, replies = make(around)
    assert await ask(replies) == DANE_ONLY
    await around.gets.reached(GOOD, 2)
    around.now += 46
    assert await ask(replies) == DANE_ONLY
    await resolver.close()


async def test_a_clock_that_is_set_forward_during_a_long_attempt() -> None:
    """The verdict that the attempt has found counts, although it has expired by that clock."""
    around = Surroundings(verdicts={GOOD: signed()})
    around.publish()
    around.https.hold()
    resolver, replies = make(around, timeout=0)
    await ask(replies)  # the time of the attempt is up at once
    await around.gets.reached(GOOD)
    assert await ask(replies) == DANE_ONLY
    around.now += YEAR
    assert await ask(replies) == DANE_ONLY
    await resolver.close()


async def test_a_clock_that_is_set_forward_during_a_later_attempt() -> None:
    """So does the verdict that was known before it."""
    around = Surroundings(verdicts={GOOD: signed(ttl=24 * 3600)})
    around.publish()
    around.policies[GOOD] = DeadlineError("timed out after 60 s")
    resolver, replies = make(around, timeout=30)
    assert await ask(replies) == DANE_ONLY
    await wait_for_all(resolver)
    around.now += 2 * HOUR
    around.https.hold()
    assert await ask(replies) == DANE_ONLY
    await around.gets.reached(GOOD, 2)
    around.now += YEAR
    assert await ask(replies) == DANE_ONLY
    assert around.dane_queries[GOOD] == 1
    await resolver.close()


async def test_a_clock_that_is_set_back_during_an_attempt() -> None:
    """A policy that seemed to have expired is served from the store, though the attempt goes on."""
    around = Surroundings()
    around.publish()
    first, replies = make(around)
    assert await ask(replies) == SECURE
    await first.close()
    around.now += YEAR
    around.records[GOOD] = DnsFailureError("no answer within 5 s")
    around.dane.hold()
    resolver, replies = make(around, timeout=0)
    while (await resolver.states(lambda state: state.failure is not None)) == []:
        assert await ask(replies) != SECURE
    around.now -= YEAR
    assert await ask(replies) == SECURE
    await resolver.close()
