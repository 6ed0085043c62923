"""The policies that this relay shares: its parts, while a fleet is configured.

`policies` is what attempts ask, `outbox` what this relay has fetched, `handover` what the store
lacks. Without a fleet nothing of it runs, and no attempt asks.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from postfix_mta_sts.config.fleet import FleetSettings
from postfix_mta_sts.daemon.fleet.fetches import Fetches
from postfix_mta_sts.daemon.fleet.handover import Handover, Rows
from postfix_mta_sts.daemon.fleet.outbox import Outbox
from postfix_mta_sts.daemon.fleet.policies import FleetPolicies, OfferLate
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.resolver.fleet_question import SharedPolicies
from postfix_mta_sts.store.fleet.requests import CallFleet


class Attempts(Protocol):
    """What uses the fleet: the resolver."""

    def use_fleet(self, fleet: SharedPolicies | None) -> None:
        """See `Resolver`."""


class PolicySharing:
    """Call `reconfigure` first, and `close` last. `ask` asks the shared store."""

    def __init__(
        self, ask: CallFleet, attempts: Attempts, rows: Rows, clock: Callable[[], float]
    ) -> None:
        self._ask = ask
        self._attempts = attempts
        self._rows = rows
        self._clock = clock
        self._settings = FleetSettings()
        self._parts: _Parts | None = None

    @property
    def waiting(self) -> int:
        """Policies that this relay has fetched, and the shared store does not have yet."""
        return self._parts.outbox.waiting if self._parts else 0

    def store_is_back(self) -> None:
        """Give the store at once what waits for it, and see whether it has lost something."""
        if self._parts:
            self._parts.store_is_back()

    async def reconfigure(self, settings: FleetSettings) -> None:
        """Share by these settings from now on; with `url` None, share nothing.

        Another store gets what this relay has on file.
        """
        before, self._settings = self._settings, settings
        is_other = (before.url, before.prefix) != (settings.url, settings.prefix)
        if is_other:
            await self.close()
        if settings.url is None:
            return
        if self._parts is None:
            self._parts = _Parts(self._ask, self._rows, self._clock, self._offer_late)
        self._parts.policies.budget = settings.budget
        self._attempts.use_fleet(self._parts.policies)

    async def close(self) -> None:
        """Share nothing any more; what is under way ends."""
        self._attempts.use_fleet(None)
        parts, self._parts = self._parts, None
        if parts:
            await parts.close()

    def _offer_late(self, domain: Domain, state: State, asked_at: float) -> None:
        """Give what an attempt has fetched that started before a reload to the fleet of now.

        The hand-over may have passed it. Before it starts, it finds the policy on file.
        """
        if self._parts:
            self._parts.policies.offer(domain, state, asked_at, token="")


class _Parts:
    """What works together for one store."""

    def __init__(
        self, ask: CallFleet, rows: Rows, clock: Callable[[], float], offer_late: OfferLate
    ) -> None:
        fetches = Fetches(clock)
        self._handover = Handover(ask, rows, fetches, clock)
        self.outbox = Outbox(ask, fetches, self._handover.want_all)
        self.policies = FleetPolicies(ask, self.outbox, 0.0, offer_late)
        self._running = asyncio.create_task(self._handover.run(), name="hand-over to the fleet")

    def store_is_back(self) -> None:
        """See `PolicySharing`."""
        self.outbox.store_is_back()
        self._handover.store_is_back()

    async def close(self) -> None:
        """End all tasks."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.policies.close()
        await self.outbox.close()
