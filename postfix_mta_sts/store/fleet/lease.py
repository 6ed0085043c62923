"""The leases of domains: one relay fetches, and the others wait a little for what it gets.

A lease is only an advice. A relay whose lease ends meanwhile goes on, and one that does not get it
in time fetches for itself.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.sharing import SharedPolicy
from postfix_mta_sts.store.fleet.access import StoreAccess
from postfix_mta_sts.store.fleet.clocks import Clocks
from postfix_mta_sts.store.fleet.engine import Claimed
from postfix_mta_sts.store.fleet.errors import BusyError, FleetError
from postfix_mta_sts.store.fleet.requests import Claim, Held

FIRST_PAUSE: Final = 0.05
"""Seconds between two looks at a lease that another relay has; most fetches take some 0.2 s."""
LONGEST_PAUSE: Final = 0.2
RENEWAL: Final = 1.0
"""Seconds between two renewals: two may be lost before the lease ends."""
LONGEST: Final = 120
"""Renewals of one lease; no attempt takes that long."""
LEASES_LIMIT: Final = 1_000
"""Leases that are renewed at the same time; others end after three seconds."""
CLOSING_LIMIT: Final = 0.3
"""Seconds."""

PolicyOf = Callable[[Domain, Claimed], SharedPolicy | None]
"""Reads the policy in the answer to a claim; None if there is none that counts."""


class Leases:
    """The leases of this relay; `close` comes last. `budget` as in `SharedStoreSettings`."""

    def __init__(
        self, budget: float, access: StoreAccess, clocks: Clocks, policy_of: PolicyOf
    ) -> None:
        self._budget = budget
        self._access = access
        self._clocks = clocks
        self._policy_of = policy_of
        self._held: dict[str, tuple[Domain, asyncio.Task[None]]] = {}
        """By token."""
        self._owed: dict[str, Domain] = {}
        """By token: those that are not renewed any more, and perhaps not given back yet."""

    async def claim(self, request: Claim) -> Held:
        """Take a lease, or wait for another's policy; see `Claim`. Raises `FleetError`."""
        token = secrets.token_hex(16)
        deadline = self._clocks.monotonic() + request.wait
        pauses = _pauses()
        claimed: Claimed | None = await self._claimed(request.domain, token, request.seconds)
        while True:
            policy = self._policy_of(request.domain, claimed) if claimed else None
            news = policy if policy and policy.order != request.seen else None
            if claimed and claimed.is_held:
                self._hold(request.domain, token)
                return Held(token, news)
            now = self._clocks.monotonic()
            if news or now >= deadline:
                return Held("", news)
            await self._clocks.sleep(min(next(pauses), deadline - now))
            limit = self._poll_limit(deadline + request.seconds)
            claimed = None
            with suppress(BusyError):  # the next poll may have its turn
                claimed = await self._claimed(request.domain, token, limit)

    async def release(self, domain: Domain, token: str) -> None:
        """Give a lease back. Raises `FleetError`; then it ends by itself."""
        self.owe(domain, token)
        try:
            await self._access.write(None, lambda engine: engine.release(domain, token))
        except FleetError:
            self._owed.pop(token, None)
            raise
        self._owed.pop(token, None)

    def owe(self, domain: Domain, token: str) -> None:
        """Renew a lease no more; `close` gives it back, if `release` does not before."""
        self.let_go(token)
        if token and len(self._owed) < LEASES_LIMIT:
            self._owed[token] = domain

    def let_go(self, token: str) -> None:
        """Renew a lease no more, if this relay has it; it ends three seconds later."""
        if held := self._held.pop(token, None):
            held[1].cancel()

    async def close(self) -> None:
        """Give all leases back, as far as the store takes them at once."""
        held = [(domain, token) for token, (domain, _) in self._held.items()]
        held += [(domain, token) for token, domain in self._owed.items()]
        releases = [asyncio.create_task(self.release(*each)) for each in held]
        if releases:
            _, late = await asyncio.wait(releases, timeout=CLOSING_LIMIT)
            for release in late:
                release.cancel()
            await asyncio.gather(*releases, return_exceptions=True)

    async def _claimed(self, domain: Domain, token: str, limit: float) -> Claimed:
        return await self._access.write(limit, lambda engine: engine.claim(domain, token))

    def _poll_limit(self, end: float) -> float:
        """The seconds of a poll: the store answers, and what lasts is the fetch of another."""
        return min(self._budget, end - self._clocks.monotonic())

    def _hold(self, domain: Domain, token: str) -> None:
        if len(self._held) >= LEASES_LIMIT:
            return
        renewal = asyncio.create_task(self._renew(domain, token), name=f"lease of {domain}")
        self._held[token] = domain, renewal
        renewal.add_done_callback(lambda _: self._held.pop(token, None))

    async def _renew(self, domain: Domain, token: str) -> None:
        """Renew a lease until it is lost; that the store fails meanwhile is no loss yet."""
        for _ in range(LONGEST):
            await self._clocks.sleep(RENEWAL)
            with suppress(FleetError):
                if not await self._access.write(None, lambda engine: engine.renew(domain, token)):
                    return


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 1.5, LONGEST_PAUSE)
