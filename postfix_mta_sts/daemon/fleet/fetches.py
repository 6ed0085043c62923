"""How old fetched policies are, for the fleet: by a clock that nobody sets, as long as it is known.

A relay's own clock may have been wrong when it fetched a policy, and right since, or is wrong now.
With an age taken from that clock, an old policy could seem newer than that of another relay, and
live longer than its max_age in the whole fleet. Where an age is not measured, it is rather too
high: that costs a fetch.
"""

import math
import time
from collections.abc import Callable
from itertools import islice
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State, refetch_in
from postfix_mta_sts.store import policy_and_id
from postfix_mta_sts.store.fleet.requests import OfferPolicy

FETCHES_LIMIT: Final = 10_000
"""Fetches of which the time is kept, 2 MiB; the oldest are dropped."""
OVERDUE: Final = 1.05
"""Share of the time until the next fetch after which another relay renews a policy: each relay
that is alive fetches before that."""


def since_boot() -> float:
    """Seconds since the machine was started, also those in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Fetches:
    """When this process has fetched policies. `clock`: epoch seconds; `steady`: `since_boot`."""

    def __init__(
        self, clock: Callable[[], float], steady: Callable[[], float] = since_boot
    ) -> None:
        self._clock = clock
        self._steady = steady
        self._ahead = -math.inf
        """The largest difference between the clock and the steady one that was seen. A clock that
        is set back does not lower it."""
        self.read_clock()
        self._fetches: dict[Domain, tuple[float, float]] = {}

    def read_clock(self) -> None:
        """See whether the clock is further ahead; to be called when a policy may be taken over."""
        self._ahead = max(self._ahead, self._clock() - self._steady())

    def note(self, domain: Domain, state: State) -> None:
        """Note that a policy was fetched now."""
        self._fetches.pop(domain, None)
        self._fetches[domain] = (state.fetched_at, self._steady())
        if len(self._fetches) > FETCHES_LIMIT:
            for oldest in list(islice(self._fetches, FETCHES_LIMIT // 100)):
                del self._fetches[oldest]

    def measured(self, domain: Domain, state: State) -> float | None:
        """Seconds since this process fetched a policy; None: it did not."""
        fetched_at, at = self._fetches.get(domain, (None, 0.0))
        return max(0.0, self._steady() - at) if fetched_at == state.fetched_at else None

    def age(self, domain: Domain, state: State) -> float | None:
        """Seconds since a policy was fetched; None: it is from the future, so that nobody knows."""
        if (measured := self.measured(domain, state)) is not None:
            return measured
        self.read_clock()
        age = self._steady() + self._ahead - state.fetched_at
        return age if age >= 0 and self._clock() >= state.fetched_at else None

    def offer(
        self,
        domain: Domain,
        state: State,
        asked_at: float,
        token: str = "",
        *,
        is_dated: bool = True,
    ) -> OfferPolicy | None:
        """The request that gives a policy to the fleet; None: it has expired, or has no age.

        `asked_at`: when the domain was last asked for, in epoch seconds; 0: not known. `is_dated`:
        see `Row`.
        """
        policy, policy_id = policy_and_id(state)
        is_measured = self.measured(domain, state) is not None
        age = self.age(domain, state) if is_measured or is_dated else None
        if age is None or age >= policy.max_age:
            return None
        return OfferPolicy(
            domain,
            policy.text,
            policy_id,
            age,
            due_in=max(0.0, OVERDUE * refetch_in(policy, 0.0) - age),
            asked_ago=max(0.0, self._clock() - asked_at) if asked_at else None,
            token=token,
            is_measured=is_measured,
        )
