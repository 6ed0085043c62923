"""Fake sources for the resolver: records, policies and verdicts as literals, and a manual clock.

Nothing here uses the network or a file. Each question is counted, and answers can be held back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import DiscoveryError, FetchError, NoRecordError
from postfix_mta_sts.mtasts.lifecycle import Discovered
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.resolver.sources import Sources
from postfix_mta_sts.store import Store
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.tally import Gate, Tally

GOOD = parse_domain("good.test")
START = 1_790_000_000.0
"""Where the manual clock starts, in epoch seconds."""


def policy(mode: str = "enforce", max_age: int = 604_800, mx: str = "mx1.good.test") -> Policy:
    """A policy with these fields."""
    text = f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {max_age}\n"
    return parse_policy(text.encode())


UNSIGNED = DaneOutcome(MxState.INSECURE, "MX: not signed", ttl=3600)
UNANSWERED = DaneOutcome(MxState.FAILED, "MX: no answer")


def signed(state: HostState = HostState.USABLE, ttl: int = 3600) -> DaneOutcome:
    """The outcome for a signed MX RRset with one host in this state."""
    return DaneOutcome(MxState.SECURE, "MX: signed", (Host("mx1.good.test", state, "TLSA"),), ttl)


def found(policy_id: str = "a", ttl: int = 300) -> Discovered:
    """A TXT record with this policy id."""
    return Discovered(PolicyId(policy_id), ttl)


@dataclass
class Surroundings:
    """Records and policies by domain; a domain without an entry has no TXT record."""

    records: dict[Domain, Discovered | DiscoveryError | Exception] = field(default_factory=dict)
    policies: dict[Domain, Policy | FetchError | DiscoveryError] = field(default_factory=dict)
    store: Store = field(default_factory=MemoryStore)
    now: float = START
    read_patience: float = 30.0
    queries: Tally[Domain] = field(default_factory=Tally)
    """TXT queries."""
    gets: Tally[Domain] = field(default_factory=Tally)
    """Policy fetches."""
    verdicts: dict[Domain, DaneOutcome | Exception] = field(default_factory=dict)
    """DANE outcomes; a domain without an entry is in an unsigned zone."""
    dane_queries: Tally[Domain] = field(default_factory=Tally)
    """DANE look-ups."""
    progress: dict[Domain, DaneOutcome] = field(default_factory=dict)
    """What a DANE look-up has found before it waits at the gate `dane`."""
    dane: Gate = field(default_factory=Gate)
    dns: Gate = field(default_factory=Gate)
    addresses: Gate = field(default_factory=Gate)
    https: Gate = field(default_factory=Gate)

    def sources(self) -> Sources:
        """The arguments of a resolver."""
        return Sources(
            self._discover,
            self._fetch,
            self.store,
            lambda: self.now,
            lambda: 0.0,
            self.read_patience,
        )

    def publish(self, domain: Domain = GOOD, policy_id: str = "a", **fields: str | int) -> None:
        """Publish a TXT record and a policy; `fields` are those of `policy`."""
        self.records[domain] = found(policy_id)
        self.policies[domain] = policy(**fields)  # type: ignore[arg-type] # `policy` checks names

    async def look_up_dane(
        self, domain: Domain, on_progress: Callable[[DaneOutcome | None], None]
    ) -> DaneOutcome:
        """The DANE outcome of a domain; pass this method to `Resolver.use_dane`."""
        await self.dane_queries.add(domain)
        if domain in self.progress:
            on_progress(self.progress[domain])
        await self.dane.passed()
        outcome = self.verdicts.get(domain, UNSIGNED)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _discover(self, domain: Domain) -> Discovered:
        await self.queries.add(domain)
        await self.dns.passed()
        outcome = self.records.get(domain, NoRecordError("NXDOMAIN"))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _fetch(self, domain: Domain, on_addresses: Callable[[], None]) -> Policy:
        await self.gets.add(domain)
        await self.addresses.passed()
        on_addresses()
        await self.https.passed()
        outcome = self.policies[domain]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
