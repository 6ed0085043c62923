"""Checks of a daemon without a network: domains with a policy, a store, and a clock by hand."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from postfix_mta_sts.daemon.checks import CheckWorld
from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import Exceptions, PolicyException
from postfix_mta_sts.network.mail_hosts_values import DnsProblem, FoundHosts, MailHosts
from postfix_mta_sts.network.smtp.values import ProbePlan, ProbeResult
from postfix_mta_sts.postfix.answers import Answering, AnswerRules
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.exceptions import configured
from tests.support.resolvers import find_state, make_resolver
from tests.support.surroundings import Surroundings


class Hosts:
    """A network in which each check takes some time; counts those at once."""

    def __init__(self) -> None:
        self.asked: list[Domain] = []
        self.at_once = self.most = 0
        self.error: Exception | None = None

    async def look_up_hosts(self, domain: Domain, _: float, *, with_dane: bool) -> FoundHosts:
        """See `CheckSources`."""
        assert not with_dane
        self.asked.append(domain)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        for _ in range(20):  # turns of the loop, in which others start
            await asyncio.sleep(0)
        self.at_once -= 1
        if self.error:
            raise self.error
        return FoundHosts(MailHosts((), problem=DnsProblem.FAILURE, reason="SERVFAIL"))

    async def probe(self, plan: ProbePlan) -> Sequence[ProbeResult]:
        """See `CheckSources`; there is nothing to probe."""
        raise AssertionError(plan)


class Around:
    """What checks need; made by `checks_world`."""

    def __init__(self, store: FailsafeStore) -> None:
        self.sources = Surroundings()
        self.hosts = Hosts()
        self.store = store
        self.resolver = make_resolver(self.sources, entries=1_000)
        self.domains: list[Domain] = []
        self.exceptions = Exceptions()
        self.counters = Counters()
        self.world = CheckWorld(
            self.resolver,
            store,
            self.hosts,
            lambda: Answering(AnswerRules(exceptions=self.exceptions)),
            lambda: self.exceptions,
            lambda: self.sources.now,
            self.counters,
            offer=self._offer,
        )
        self.offered: list[Check] = []
        """Checks that were given to the fleet."""

    async def _offer(self, check: Check) -> None:
        self.offered.append(check)

    async def publish(self, *names: str) -> None:
        """Let these domains have a policy that is known."""
        for domain in map(Domain, names):
            self.sources.publish(domain)
            await find_state(self.resolver, domain)
            self.domains.append(domain)

    def ask(self, *, on_trial: bool = True) -> None:
        """Ask for all of them."""
        for domain in self.domains:
            self.resolver.usage.note_check(domain, on_trial=on_trial)

    def use(self, *found: PolicyException) -> None:
        """Put exceptions in force."""
        self.exceptions = Exceptions(configured(*found))


@asynccontextmanager
async def checks_world() -> AsyncIterator[Around]:
    """Surroundings with an open store."""

    async def opened() -> MemoryStore:
        return MemoryStore()

    store = FailsafeStore(opened)
    await store.open()
    around = Around(store)
    try:
        yield around
    finally:
        await around.resolver.close()
        await store.close()
