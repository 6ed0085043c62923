"""Attempts report what became weaker: in the foreground, behind a reply, and after a restart."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace as changed

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import NoRecordError, StatusError
from postfix_mta_sts.mtasts.lifecycle import DAY, State
from postfix_mta_sts.mtasts.weakening import Weakening, WeakeningKind
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.store import Store
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.dane_outcomes import ABSENT, UNANSWERED, USABLE
from tests.support.dane_outcomes import signed as hosts
from tests.support.resolvers import look_up, wait_for_all
from tests.support.surroundings import GOOD, Surroundings
from tests.support.tally import Gate


class Watched:
    """A resolver, and what it reports."""

    def __init__(self, store: Store | None = None) -> None:
        self.around = Surroundings(store=store or MemoryStore())
        self.around.publish(GOOD)
        self.found: list[Weakening] = []
        self.resolver = self.restart()

    def restart(self) -> Resolver:
        """Forget what is in memory."""
        sources = changed(self.around.sources(), on_weakening=self.found.append)
        self.resolver = Resolver(sources, lookup_timeout=30, limits=Limits(100, 2**30))
        return self.resolver

    @property
    def kinds(self) -> list[WeakeningKind]:
        """The kinds of the events, which are forgotten."""
        kinds = [each.kind for each in self.found]
        self.found.clear()
        return kinds


@pytest.fixture
async def watched() -> Watched:
    """A domain with an enforced policy."""
    watched = Watched()
    await look_up(watched.resolver)
    return watched


async def test_behind_the_reply(watched: Watched) -> None:
    """A recheck finds the new policy, and reports it once."""
    watched.around.publish(GOOD, "b", mode="none")
    for _ in range(3):
        watched.around.now += 3_600
        await look_up(watched.resolver)
        await wait_for_all(watched.resolver)
    assert watched.kinds == [WeakeningKind.MODE]


async def test_a_renewal_in_the_background(watched: Watched) -> None:
    """A renewal, which the refresher starts, finds it without a look-up; each respect once."""
    watched.around.publish(GOOD, "b", mx="mx9.evil.test", max_age=86_400)
    watched.around.now += 2 * DAY
    for _ in range(2):
        await watched.resolver.renew(GOOD)
        await wait_for_all(watched.resolver)
    assert watched.kinds == [WeakeningKind.MX, WeakeningKind.MAX_AGE]


@pytest.mark.parametrize("days", [0, 3, 20])
async def test_the_daemon_was_stopped(watched: Watched, days: int) -> None:
    """What changed meanwhile is compared with the store, also if the policy has expired."""
    watched.around.publish(GOOD, "b", mode="testing")
    watched.around.now += days * DAY
    for _ in range(2):
        resolver = watched.restart()
        await look_up(resolver)
        await resolver.refresh(GOOD)
        await wait_for_all(resolver)
    assert watched.kinds == [WeakeningKind.MODE]


@pytest.mark.parametrize("restarts", [False, True])
async def test_the_policy_has_expired(watched: Watched, *, restarts: bool) -> None:
    """A weaker policy after one that an attacker has let expire, by blocking renewals, is seen."""
    policy, watched.around.policies[GOOD] = watched.around.policies[GOOD], StatusError("404")
    watched.around.now += 20 * DAY
    for _ in range(2):
        await look_up(watched.resolver)
        await wait_for_all(watched.resolver)
        watched.around.now += 7_200
    assert watched.kinds == []
    if restarts:
        watched.restart()
    watched.around.policies[GOOD] = policy
    watched.around.publish(GOOD, "b", mode="testing")
    await look_up(watched.resolver)
    assert watched.kinds == [WeakeningKind.MODE]


async def test_a_record_that_goes(watched: Watched) -> None:
    """It is told once: neither failures, nor renewals without a record, nor restarts repeat it."""
    watched.around.records[GOOD] = NoRecordError("NXDOMAIN")
    for outcome in (StatusError("404"), watched.around.policies[GOOD]) * 3:
        watched.around.policies[GOOD] = outcome
        watched.around.now += DAY
        await look_up(watched.resolver)
        await watched.resolver.refresh(GOOD)
        await wait_for_all(watched.resolver)
        watched.restart()
    assert watched.kinds == [WeakeningKind.RECORD]


async def test_a_domain_that_was_forgotten(watched: Watched) -> None:
    """Nothing is compared with what an administrator has removed."""
    await watched.resolver.forget(GOOD)
    watched.around.publish(GOOD, "b", mode="none")
    await look_up(watched.resolver)
    assert watched.kinds == []


class SlowStore(MemoryStore):
    """A store whose reads can be held back."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    async def load(self, domain: Domain) -> State | None:
        """See `Store`."""
        await self.gate.passed()
        return await super().load(domain)

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`."""
        found = await super().load_all(domains)  # as the file was when it was read
        await self.gate.passed()
        return found


async def test_a_slow_disk() -> None:
    """A policy that comes before the row that it replaces is compared with that row."""
    watched = Watched(store := SlowStore())
    await look_up(watched.resolver)
    watched.around.publish(GOOD, "b", mode="none")
    watched.around.read_patience = 0
    resolver = watched.restart()
    store.gate.hold()
    look = asyncio.create_task(look_up(resolver))
    await watched.around.gets.reached(GOOD, 2)
    store.gate.release()
    await look
    await wait_for_all(resolver)
    assert watched.kinds == [WeakeningKind.MODE]
    assert (await look_up(resolver)).policy_id == "b"


async def test_dane(watched: Watched) -> None:
    """A verdict of before a restart counts, and a DNS that fails in between hides nothing."""
    for outcome in (hosts(USABLE), hosts(USABLE), UNANSWERED, hosts(ABSENT), hosts(ABSENT)):
        watched.around.verdicts[GOOD] = outcome
        resolver = watched.restart()
        resolver.use_dane(watched.around.look_up_dane)
        await look_up(resolver)
        await wait_for_all(resolver)
        watched.around.now += 8 * DAY
    assert watched.kinds == [WeakeningKind.DANE]
