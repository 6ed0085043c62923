"""Renew what a relay of the fleet uses and no relay has renewed in time; one does it for all.

Each relay renews its own policies before they are overdue. A domain is overdue if all relays that
know it are gone. To find such domains, each relay notes in the shared store what it is asked for. A
relay that finds some takes a few of them: it notes that they are due again later, so that the
others leave them alone, whatever becomes of it. These notes are not signed: they count only for
domains with a policy that a relay has signed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Final, Protocol

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import DAY, MINUTE
from postfix_mta_sts.store import LastAsked
from postfix_mta_sts.store.fleet.requests import (
    CallFleet,
    Due,
    FindDue,
    Look,
    NoteUses,
    Seen,
    Unavailable,
)

TICK: Final = MINUTE
"""Seconds between two looks, as of the refresher."""
BATCH: Final = 1_000
"""Domains of one request."""
USES_LIMIT: Final = 50_000
"""Uses that wait to be noted, 5 MiB: as many as `Usage` has in a minute. The oldest are dropped."""
NOTES_LIMIT: Final = 3
"""Notes of a minute that wait to be looked at."""
TAKEN: Final = 600
"""Domains that are taken in a minute: ten a second."""
TAKEN_FOR: Final = 10 * MINUTE
"""Seconds after which a domain is due again that was taken, and not renewed."""
IDLE_AFTER: Final = 30 * DAY
"""Seconds, unless the settings say another time."""
LOOK_SECONDS: Final = 1.0
"""For a look behind which no mail waits."""
CONCURRENCY: Final = 100
"""Renewals under way at once. If all that were taken have dead Policy Hosts, each fetch lasts a
minute, and all six: so they end before they are due again, and others are taken soon."""


class Renewing(Protocol):
    """The resolver."""

    async def renew(self, domain: Domain) -> None:
        """Renew the policy of a domain, if it is due; wait for the end."""


class Renewals:
    """`note` gets what this relay is asked for; `give_uses` and `renew_due` are for each minute.

    `has_policy`: whether a policy of a domain is known here; other names, which anybody can make
    up, are not noted. `sleep` and `random` spread the renewals.
    """

    def __init__(
        self,
        ask: CallFleet,
        resolver: Renewing,
        has_policy: Callable[[Domain], bool],
        clock: Callable[[], float],
        *,
        random: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.idle_after = IDLE_AFTER
        """Seconds after which a policy that nobody asks for is not renewed any more."""
        self._ask = ask
        self._resolver = resolver
        self._has_policy = has_policy
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._noted: deque[Mapping[Domain, LastAsked]] = deque(maxlen=NOTES_LIMIT)
        self._uses: dict[Domain, float] = {}
        """When the domains were last asked for that are to be given to the fleet."""
        self._slots = asyncio.Semaphore(CONCURRENCY)

    def note(self, asked: Mapping[Domain, LastAsked]) -> None:
        """Note what was asked for; it is looked at later, as it may be much."""
        self._noted.append(asked)

    async def give_uses(self) -> None:
        """Give the notes to the fleet; those that it does not take are kept for the next time."""
        await self._sort_notes()
        while batch := dict(islice(self._uses.items(), BATCH)):
            now = self._clock()
            ago = {domain: max(0.0, now - at) for domain, at in batch.items()}
            if isinstance(await self._ask(NoteUses(ago)), Unavailable):
                return
            for domain, at in batch.items():
                if self._uses.get(domain) == at:
                    del self._uses[domain]

    async def renew_due(self) -> None:
        """Take some of what is overdue, and renew it, spread over a minute."""
        domains = await self._taken()
        async with asyncio.TaskGroup() as group:
            for domain in domains:
                await self._sleep(2 * self._random() * TICK / max(TAKEN, len(domains)))
                group.create_task(self._renew(domain), name=f"renew {domain}")

    async def _taken(self) -> Sequence[Domain]:
        """Find what is overdue, and have the other relays leave it alone."""
        found = await self._ask(FindDue(self.idle_after, TAKEN))
        if not isinstance(found, Due) or not found.domains:
            return ()
        domains = found.domains[:TAKEN]
        noted = await self._ask(NoteUses({}, dict.fromkeys(domains, TAKEN_FOR)))
        return () if isinstance(noted, Unavailable) else domains

    async def _renew(self, domain: Domain) -> None:
        async with self._slots:
            # Else everybody with access to the store could have names looked up.
            seen = await self._ask(Look(domain, LOOK_SECONDS, can_wait=True))
            if isinstance(seen, Seen) and seen.policy:
                await self._resolver.renew(domain)

    async def _sort_notes(self) -> None:
        """Find those notes that are worth one in the fleet; other tasks run meanwhile."""
        while self._noted:
            asked = iter(self._noted.popleft().items())
            while part := list(islice(asked, BATCH)):
                for domain, last in part:
                    if self._has_policy(domain):
                        self._uses.pop(domain, None)
                        self._uses[domain] = last.at
                await asyncio.sleep(0)
        for oldest in list(islice(self._uses, max(0, len(self._uses) - USES_LIMIT))):
            del self._uses[oldest]
