"""No attacker removes a policy that is known."""

import asyncio

from postfix_mta_sts.mtasts.errors import DnsFailureError, StatusError
from postfix_mta_sts.mtasts.lifecycle import ABSENCE_RECHECK, DAY, HOUR, restored
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.resolver.resolver import Resolver
from tests.support.resolvers import OTHER, looked_up, resolver_in, settled
from tests.support.surroundings import GOOD, START, Surroundings, found, policy


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
