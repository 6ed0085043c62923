"""Policies that this relay has fetched, on their way to the shared store.

An offer is sent at once, behind the reply to Postfix. While the store is away, offers wait here:
one of them is tried again every few seconds, and as soon as the store is back; when it was taken,
the others follow. What is fetched meanwhile overtakes them: other relays wait for it.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

from postfix_mta_sts.daemon.fleet.fetches import Fetches
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store.fleet.requests import AnyAnswer, CallFleet, Release, Unavailable
from postfix_mta_sts.values import Value, replace

LIMIT: Final = 10_000
"""Offers that wait. If there are more, the policies on file are offered when the store is back."""
BYTES_LIMIT: Final = 32 * 2**20
"""Bytes of their texts; the same: the owner of a domain can make a policy 64 KiB long."""
IN_FLIGHT: Final = 8
"""Offers under way at once."""
CATCHING_UP: Final = 2
"""How many of them may have waited for the store: all relays find out together that it is back, and
look-ups of that moment need the processor, too."""
RETRY: Final = 5.0
"""Seconds after which a store that was away is tried again."""


class _Waiting(Value, frozen=True):
    """A policy that is to be offered."""

    state: State
    asked_at: float
    number: int
    """In the order of the fetches."""
    token: str
    """A lease that ends with the offer; empty while the store is away: nobody waits for that."""

    @property
    def size(self) -> int:
        """Bytes of the policy."""
        return len(self.state.policy.text) if self.state.policy else 0


class Outbox:
    """Offers policies by `ask`; call `close` last: then nothing is offered any more.

    `on_loss` is called when the store is back, after offers were dropped because there were too
    many.
    """

    def __init__(
        self,
        ask: CallFleet,
        fetches: Fetches,
        on_loss: Callable[[], None],
        *,
        limit: int = LIMIT,
        bytes_limit: int = BYTES_LIMIT,
        retry: float = RETRY,
    ) -> None:
        self._ask = ask
        self._fetches = fetches
        self._on_loss = on_loss
        self._limit = limit
        self._bytes_limit = bytes_limit
        self._bytes = 0
        self._retry = retry
        self._numbers = itertools.count()
        self._waiting: dict[Domain, _Waiting] = {}
        self._fresh: dict[Domain, None] = {}
        """Those of `_waiting` that were put since the store worked, in their order."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._catching_up: set[asyncio.Task[None]] = set()
        """Those of `_tasks` whose offers had waited for the store."""
        self._releases: set[asyncio.Task[AnyAnswer]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_away = False
        self._has_lost = False
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """Policies that are not in the shared store yet, without those that are on their way."""
        return len(self._waiting)

    def put(self, domain: Domain, state: State, asked_at: float, token: str = "") -> None:
        """Offer a policy that was fetched just now; returns at once. See `SharedPolicies.offer`."""
        if self._is_closed:
            return
        self._fetches.note(domain, state)
        waiting = _Waiting(state, asked_at, next(self._numbers), token)
        if self._timer:
            self._give_back(domain, token)
            self._keep(domain, replace(waiting, token=""))
        else:
            self._keep(domain, waiting)
            self._fresh[domain] = None
        self._start()

    def store_is_back(self) -> None:
        """Try at once what waits for the store."""
        if self._timer:
            self._timer.cancel()
            self._try_again()

    def read_clock(self) -> None:
        """See `Fetches`."""
        self._fetches.read_clock()

    async def close(self) -> None:
        """End what is under way; what waits is on file."""
        self._is_closed = True
        if self._timer:
            self._timer.cancel()
            self._timer = None
        tasks = (*self._tasks, *self._releases)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _keep(self, domain: Domain, waiting: _Waiting) -> None:
        """Keep the newer of two offers for a domain, within the limits."""
        there = self._take(domain) if domain in self._waiting else None
        if there and there.number > waiting.number:
            there, waiting = waiting, there
        if there:
            self._give_back(domain, there.token)
        self._waiting[domain] = waiting
        self._bytes += waiting.size
        while len(self._waiting) > self._limit or self._bytes > self._bytes_limit:
            oldest = next(iter(self._waiting))
            self._give_back(oldest, self._take(oldest).token)
            self._has_lost = True

    def _take(self, domain: Domain) -> _Waiting:
        self._fresh.pop(domain, None)
        waiting = self._waiting.pop(domain)
        self._bytes -= waiting.size
        return waiting

    def _start(self) -> None:
        """Send what waits: some at once, or one, to see whether the store is back."""
        most = 1 if self._is_away else IN_FLIGHT
        while self._timer is None and len(self._tasks) < most and self._waiting:
            has_waited = not self._fresh
            if has_waited and len(self._catching_up) >= CATCHING_UP:
                return
            domain = next(iter(self._fresh or self._waiting))
            send = self._send(domain, self._take(domain))
            task = asyncio.create_task(send, name=f"offer {domain}")
            self._tasks.add(task)
            if has_waited:
                self._catching_up.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._catching_up.discard(task)
        if not self._is_closed:
            self._start()

    async def _send(self, domain: Domain, waiting: _Waiting) -> None:
        offer = self._fetches.offer(domain, waiting.state, waiting.asked_at, waiting.token)
        answer = await self._ask(offer) if offer else None
        if isinstance(answer, Unavailable):
            self._keep(domain, waiting)
            self._wait()
        elif offer:
            self._is_away = False
        else:
            self._give_back(domain, waiting.token)
        if self._has_lost and not (self._is_away or self._waiting):
            self._has_lost = False
            self._on_loss()

    def _wait(self) -> None:
        """Leave the store alone for a while."""
        self._is_away = True
        self._fresh.clear()
        self._give_leases_back()
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._retry, self._try_again)

    def _try_again(self) -> None:
        self._timer = None
        self._start()

    def _give_leases_back(self) -> None:
        """Hold no lease for an offer that waits until the store is back."""
        for domain, waiting in self._waiting.items():
            if waiting.token:
                self._give_back(domain, waiting.token)
                self._waiting[domain] = replace(waiting, token="")

    def _give_back(self, domain: Domain, token: str) -> None:
        """Give a lease back: the client renews it until it is told not to."""
        if token and not self._is_closed:
            release = asyncio.ensure_future(self._ask(Release(domain, token)))
            self._releases.add(release)
            release.add_done_callback(self._releases.discard)
