"""The fleet, as attempts see it: looks and claims go to the network process, offers to the outbox.

`ask` keeps the time limits (`store.fleet.limits`). Nothing waits for the fleet but for its budget,
or when the network has failed. Only a claim has its limit here, because it must not be cancelled.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeAlias

from postfix_mta_sts.daemon.fleet.calls import NO_ANSWER
from postfix_mta_sts.daemon.fleet.outbox import Outbox
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store.fleet.limits import GRACE, limit_of
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    CallFleet,
    Claim,
    Held,
    Look,
    Release,
    Seen,
    Unavailable,
    problem_of,
)

_CLOSED: Final = Unavailable("the settings of the fleet have changed", was_asked=False)

OfferLate: TypeAlias = Callable[[Domain, State, float], None]
"""Takes a policy that was fetched now, and when the domain was last asked for, or 0."""


class FleetPolicies:
    """See `resolver.fleet_question.SharedPolicies`; call `close` last.

    An attempt that started before goes on with this object: then nothing is asked of the store, and
    what the attempt fetches goes to `offer_late`.
    """

    def __init__(
        self, ask: CallFleet, outbox: Outbox, budget: float, offer_late: OfferLate
    ) -> None:
        self.budget = budget
        """See `SharedPolicies`."""
        self._ask = ask
        self._outbox = outbox
        self._offer_late = offer_late
        self._is_closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def look(
        self, domain: Domain, seconds: float, *, can_wait: bool = False
    ) -> Seen | Unavailable:
        """See `SharedPolicies`."""
        if self._is_closed:
            return _CLOSED
        self._outbox.read_clock()
        answer = await self._ask(Look(domain, seconds, can_wait))
        return answer if isinstance(answer, Seen) else Unavailable(problem_of(answer))

    async def claim(
        self, domain: Domain, seen: int, wait: float, seconds: float
    ) -> Held | Unavailable:
        """See `SharedPolicies`."""
        if self._is_closed:
            return _CLOSED
        self._outbox.read_clock()
        # A task of its own: a claim that is cancelled half-way could leave a lease behind.
        claim = Claim(domain, seen, wait, seconds)
        asking = self._start(self._claim(claim))
        try:
            await asyncio.wait([asking], timeout=limit_of(claim) + GRACE)
        except asyncio.CancelledError:
            asking.add_done_callback(partial(self._give_back, domain))
            raise
        if not asking.done():
            asking.add_done_callback(partial(self._give_back, domain))
            return NO_ANSWER
        if asking.cancelled():  # by a reload: the attempt goes on
            return NO_ANSWER
        answer = asking.result()
        return answer if isinstance(answer, Held) else Unavailable(problem_of(answer))

    def release(self, domain: Domain, token: str) -> None:
        """See `SharedPolicies`."""
        if not self._is_closed:
            self._start(self._release(Release(domain, token)))

    def offer(self, domain: Domain, state: State, asked_at: float, token: str) -> None:
        """See `SharedPolicies`."""
        if self._is_closed:
            self._offer_late(domain, state, asked_at)
        else:
            self._outbox.put(domain, state, asked_at, token)

    async def close(self) -> None:
        """End what is under way. The network process with the old settings gives leases back."""
        self._is_closed = True
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _claim(self, claim: Claim) -> AnyAnswer:
        return await self._ask(claim)

    async def _release(self, release: Release) -> None:
        await self._ask(release)  # if that fails, the lease ends by itself

    def _give_back(self, domain: Domain, asking: asyncio.Task[AnyAnswer]) -> None:
        """Release what a claim has got after nothing waits for it any more."""
        if asking.cancelled() or asking.exception():
            return
        answer = asking.result()
        if isinstance(answer, Held) and answer.token:
            self.release(domain, answer.token)

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name="shared store")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
