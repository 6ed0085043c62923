"""What attempts ask, and what all attempts of a resolver share."""

from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass

from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import Discovered, Standing, State
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.weakening import Weakening
from postfix_mta_sts.resolver.cache import StateCache
from postfix_mta_sts.resolver.dane import DaneLookup
from postfix_mta_sts.resolver.fleet_question import FleetQuestion, SharedPolicies
from postfix_mta_sts.resolver.usage import Usage
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.store import Store
from postfix_mta_sts.values import replace


@dataclass(frozen=True, slots=True)
class Sources:
    """What an attempt asks, and what tests replace: network, store, clock, random numbers."""

    discover: Callable[[Domain], Awaitable[Discovered]]
    """Raises `DiscoveryError`, of which `OwnFaultError` is one."""
    fetch: Callable[[Domain, Callable[[], None]], Awaitable[Policy]]
    """Calls the function once it knows the addresses of the Policy Host. Raises `FetchError`,
    `DnsFailureError` or `OwnFaultError`."""
    store: Store
    clock: Callable[[], float]
    """Wall-clock seconds since the epoch."""
    random: Callable[[], float]
    """Numbers in [0, 1)."""
    read_patience: float = 1.0
    """Seconds for a read of the store, after which the network is asked beside it."""
    on_weakening: Callable[[Weakening], None] = lambda _: None
    """Called for each weakening, before look-ups are answered: it returns at once, and never
    raises an `Exception`."""


@dataclass(slots=True)
class AttemptContext:
    """What all attempts of a resolver share."""

    sources: Sources
    cache: StateCache
    usage: Usage
    counters: Counters
    dane_lookup: DaneLookup | None = None
    """None: DANE is off."""
    verdicts_since: float = 0.0
    """When DANE was first asked of the present name servers; a verdict found before is not used."""
    asked_of: Hashable = None
    """Identifies these name servers; None: DANE was not on yet."""

    fleet: SharedPolicies | None = None
    """None: there is no fleet."""
    fleet_wait: float = 0.0
    """Seconds that an attempt waits for another relay which fetches the policy."""

    def ask_fleet(self, domain: Domain) -> FleetQuestion | None:
        """What an attempt asks of the fleet, if there is one."""
        if self.fleet is None:
            return None
        clock = self.sources.clock
        return FleetQuestion(self.fleet, domain, self.fleet_wait, self.counters, clock)

    def report(self, found: Iterable[Weakening]) -> None:
        """Tell of weakenings."""
        for each in found:
            self.sources.on_weakening(each)

    def usable(self, state: State | None) -> State | None:
        """A state of cache or store, without a verdict of other name servers."""
        if state and state.dane and state.dane.found_at < self.verdicts_since:
            return replace(state, dane=None)
        return state

    def standing(self, state: State | None) -> Standing:
        """Whether a state can be served now, with or without a recheck."""
        now = self.sources.clock()
        return lifecycle.standing(state, now, dane=self.dane_lookup is not None)
