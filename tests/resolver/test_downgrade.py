"""Downgrade attacks: only the Policy Host can take away a known policy."""

import asyncio

from postfix_mta_sts.mtasts.errors import DnsFailureError, StatusError
from postfix_mta_sts.mtasts.lifecycle import ABSENCE_RECHECK, DAY, HOUR, restored
from postfix_mta_sts.mtasts.record import PolicyId
from tests.support.resolvers import OTHER, find_state, look_up, make_resolver, wait_for_end
from tests.support.surroundings import GOOD, START, Surroundings, found, policy


async def test_a_cached_absence_does_not_hide_a_stored_policy() -> None:
    """A read may have failed when the absence was found, or another process fetched (C3)."""
    around = Surroundings()
    resolver = make_resolver(around)
    await look_up(resolver)
    await around.store.save(GOOD, restored(policy(), PolicyId("a"), START, START + DAY), START)
    around.now += ABSENCE_RECHECK
    resolver.cached(GOOD)
    await wait_for_end(resolver)
    assert (await look_up(resolver)).policy == policy()


async def test_the_attempt_limit_does_not_hide_a_stored_policy() -> None:
    """Many look-ups of unanswered domains, caused by an attacker, downgrade no known domain."""
    around = Surroundings()
    await around.store.save(GOOD, restored(policy(), PolicyId("a"), START, START + DAY), START)
    around.dns.hold()
    resolver = make_resolver(around, attempts=1)
    waiting = asyncio.create_task(find_state(resolver, OTHER))
    await around.queries.reached(OTHER)
    assert (await look_up(resolver)).policy == policy()
    around.dns.release()
    await waiting


async def test_downgrade_by_unanswered_dns() -> None:
    """An attacker that suppresses DNS answers removes no known policy."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    await look_up(resolver)
    around.records[GOOD] = DnsFailureError("no answer")
    for _ in range(50):
        around.now += HOUR
        entry = resolver.cached(GOOD)
        assert entry
        assert entry.state
        assert entry.state.policy == policy()
        await wait_for_end(resolver)


async def test_downgrade_by_a_broken_policy_under_a_new_id() -> None:
    """A new id without a valid policy changes nothing (C3)."""
    around = Surroundings()
    around.publish()
    resolver = make_resolver(around)
    await look_up(resolver)
    around.records[GOOD] = found("b")
    around.policies[GOOD] = StatusError("HTTP 404")
    around.now += 300
    resolver.cached(GOOD)
    await wait_for_end(resolver)
    assert (await look_up(resolver)).policy == policy()
    row = await around.store.load(GOOD)
    assert row
    assert (row.policy, row.policy_id) == (policy(), "a")


async def test_downgrade_by_an_older_policy() -> None:
    """An old id brings back no old policy: only what HTTPS serves now counts (C10)."""
    around = Surroundings()
    around.publish(policy_id="old", mode="testing")
    resolver = make_resolver(around)
    await look_up(resolver)
    around.publish(policy_id="new", mode="enforce")
    around.now += 300
    resolver.cached(GOOD)
    await wait_for_end(resolver)
    around.records[GOOD] = found("old")
    around.now += 300
    resolver.cached(GOOD)
    await wait_for_end(resolver)
    assert (await look_up(resolver)).policy == policy("enforce")
