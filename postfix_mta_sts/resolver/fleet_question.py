"""What one attempt asks of the fleet: for a policy of another relay, and for the lease to fetch it.

An attempt looks once and claims once. What the store's answers take counts against its budget; a
store that did not answer, or has used the budget up, is asked for no lease. It may be looked at
again, with patience, beside a GET or when the network has failed. Whether a shared policy is used,
`mtasts.sharing` decides; when it is asked for, `attempt` does.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.sharing import SharedPolicy
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import FleetClaim, FleetLook
from postfix_mta_sts.store.fleet.limits import PATIENT_LOOK
from postfix_mta_sts.store.fleet.requests import Held, Seen, Unavailable
from postfix_mta_sts.values import replace


class SharedPolicies(Protocol):
    """The fleet, as attempts see it; nothing here raises an `Exception`."""

    @property
    def budget(self) -> float:
        """Seconds that the store may cost an attempt before it asks the network."""

    async def look(
        self, domain: Domain, seconds: float, /, *, can_wait: bool = False
    ) -> Seen | Unavailable:
        """Read the policy of a domain, in about `seconds` at most; see `Look`."""

    async def claim(
        self, domain: Domain, seen: int, wait: float, seconds: float, /
    ) -> Held | Unavailable:
        """Take the lease of a domain, or wait for another policy than `seen`; see `Claim`.

        If it is cancelled, a lease that it has got meanwhile is given back.
        """

    def release(self, domain: Domain, token: str, /) -> None:
        """Give a lease back; returns at once."""

    def offer(self, domain: Domain, state: State, asked_at: float, token: str, /) -> None:
        """Give a policy that was fetched now to the fleet, and a lease back; returns at once.

        `asked_at`: when the domain was last asked for, in epoch seconds; 0: not known.
        """


class FleetQuestion:
    """The questions of one attempt; call `close` last.

    `wait`: seconds to wait for a relay that fetches the policy at the moment, and, when the network
    has failed, for a store that is late. The budget is never longer, so that there is time to
    fetch. `clock`: epoch seconds.
    """

    def __init__(
        self,
        fleet: SharedPolicies,
        domain: Domain,
        wait: float,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self._fleet = fleet
        self._domain = domain
        self._clock = clock
        self._asked_at = 0.0
        self._wait = wait
        self._counters = counters
        self._seconds_left = min(fleet.budget, wait)
        self._looking: asyncio.Task[Seen | Unavailable] | None = None
        self._was_late = False
        self._late: asyncio.Task[Seen | Unavailable] | None = None
        self._seen = 0
        self._token = ""

    def start_to_look(self) -> None:
        """Ask for the policy of another relay; `look` waits for it."""
        self._asked_at = self._clock()
        look = self._fleet.look(self._domain, self._seconds_left)
        self._looking = asyncio.create_task(look, name=f"look {self._domain}")

    async def look(self) -> SharedPolicy | None:
        """The policy that the fleet has."""
        if self._looking is None:
            self.start_to_look()
        answer = await self._looking if self._looking else None
        if not isinstance(answer, Seen):
            self._seconds_left = 0.0
            self._was_late = True
            self._counters.fleet_looks[FleetLook.UNAVAILABLE] += 1
            return None
        self._seconds_left -= answer.seconds
        return self._found(answer)

    @property
    def may_look_again(self) -> bool:
        """Whether the fleet has not answered within its budget."""
        return self._was_late or self._late is not None

    async def look_again(self, beside: asyncio.Future[Policy] | None = None) -> SharedPolicy | None:
        """The policy that the fleet did not name within its budget.

        It is waited for until `beside`, a GET, is done; without that, for `wait` seconds.
        """
        if self._was_late:
            self._was_late, self._asked_at = False, self._clock()
            look = self._fleet.look(self._domain, PATIENT_LOOK, can_wait=True)
            self._late = asyncio.create_task(look, name=f"late look {self._domain}")
        if self._late is None:
            return None
        ends: list[asyncio.Future[Any]] = [self._late, beside] if beside else [self._late]
        timeout = None if beside else self._wait
        await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if (beside and beside.done()) or not self._late.done():
            return None
        answer, self._late = self._late.result(), None
        return self._found(answer) if isinstance(answer, Seen) else None

    async def claim(self) -> SharedPolicy | None:
        """Take the lease, or wait for the relay that has it; return what came in place of it.

        None: fetch the policy, with the lease or without.
        """
        if self._seconds_left <= 0:
            return None
        claim = self._fleet.claim(self._domain, self._seen, self._wait, self._seconds_left)
        held = await claim
        if not isinstance(held, Held):
            self._counters.fleet_claims[FleetClaim.UNAVAILABLE] += 1
            return None
        self._token = held.token
        is_news = held.policy is not None and held.policy.order != self._seen
        self._counters.fleet_claims[_end(held, is_news=is_news)] += 1
        return held.policy if is_news else None

    def count(self, *, adopted: bool, late: bool = False) -> None:
        """Count a policy that was found."""
        taken = FleetLook.LATE if late else FleetLook.ADOPTED
        self._counters.fleet_looks[taken if adopted else FleetLook.NOT_USED] += 1

    def offer(self, state: State, asked_at: float) -> None:
        """Give a policy that was fetched to the fleet, with the lease; returns at once."""
        token, self._token = self._token, ""
        self._fleet.offer(self._domain, state, asked_at, token)

    def close(self) -> None:
        """End a look that is under way, and give the lease back."""
        for look in (self._looking, self._late):
            if look:
                look.cancel()
        if self._token:
            token, self._token = self._token, ""
            self._fleet.release(self._domain, token)

    def _found(self, answer: Seen) -> SharedPolicy | None:
        """The policy as it is now: the network may have taken long since it was asked for."""
        if answer.policy is None:
            found = FleetLook.REFUSED if answer.refused else FleetLook.ABSENT
            self._counters.fleet_looks[found] += 1
            return None
        self._seen = answer.policy.order
        since = max(0.0, self._clock() - self._asked_at)
        return replace(answer.policy, age=answer.policy.age + since)


def _end(held: Held, *, is_news: bool) -> FleetClaim:
    if is_news:
        return FleetClaim.SHARED
    return FleetClaim.HELD if held.token else FleetClaim.IN_VAIN
