"""List what became of domains: the policies that were accepted, and what became weaker, by time."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from typing import Final

from postfix_mta_sts.admin.alerts.alerts import to_event
from postfix_mta_sts.admin.fleet.asking import Fleet
from postfix_mta_sts.admin.serialize import JsonObject, history_to_json
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.weakening import Weakening
from postfix_mta_sts.resolver.cache import SLICE
from postfix_mta_sts.store import HistoryEntry, Store
from postfix_mta_sts.store.history import joined_histories
from postfix_mta_sts.store.records import WEAKENINGS_LIMIT, AdminRecords

ACCEPTED: Final = "accepted"
"""The field `event` of an entry about a policy."""
WEAKER: Final = "weaker"
"""That of an entry about a weakening."""
INCOMPLETE: Final = "incomplete"
"""That of a last entry, whose `reason` says why the other relays' policies are missing."""


class PolicyHistory:
    """The past of domains, from the store, and of one domain also from the fleet.

    `is_readable`: whether the store can be read at present.
    """

    def __init__(
        self,
        store: Store,
        records: AdminRecords,
        clock: Callable[[], float],
        is_readable: Callable[[], bool],
        fleet: Callable[[], Fleet | None] = lambda: None,
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._records = records
        self._clock = clock
        self._is_readable = is_readable

    async def entries(
        self, domain: Domain | None, within: int | None
    ) -> AsyncGenerator[JsonObject]:
        """Yield entries of the last `within` seconds, the oldest first; other tasks run meanwhile.

        Of a domain: its policies that were accepted, first or again, and its weakenings. Without a
        domain: the weakenings of all. If the store cannot be read, the last object is
        `{"error": …}`.
        """
        since = 0.0 if within is None else self._clock() - within
        found = [*await self._records.weakenings(since, WEAKENINGS_LIMIT)][::-1]
        for start in range(0, len(found), SLICE):
            ours = found[start : start + SLICE]
            if domain is None:
                for each in ours:
                    yield _weaker(each)
            await asyncio.sleep(0)
        if domain is not None:
            of_domain = (each for each in found if each.domain == domain)
            policies, lacking = await self._policies(domain)
            accepted = _accepted(domain, policies[::-1], since)  # it has the newest first
            # An event has the time of the policy that it is about: the policy comes first.
            for entry in _by_time([*accepted, *map(_weaker, of_domain)]):
                yield entry
            if lacking:
                yield {"event": INCOMPLETE, "domain": domain, "reason": lacking}
        if not self._is_readable():
            yield {"error": "the store cannot be read: the list is not complete"}

    async def _policies(self, domain: Domain) -> tuple[Sequence[HistoryEntry], str]:
        """The policies of a domain, the newest first; and why those of the fleet are missing."""
        fleet, ours = self._fleet(), await self._store.history(domain)
        if fleet is None:
            return ours, ""
        theirs, problem = await fleet.history(domain)
        return joined_histories(ours, theirs), problem and f"the shared store: {problem}"


def _by_time(entries: Iterable[JsonObject]) -> Sequence[JsonObject]:
    return sorted(entries, key=lambda entry: entry["at"])


def _accepted(
    domain: Domain, history: Sequence[HistoryEntry], since: float
) -> Iterator[JsonObject]:
    for entry in history_to_json(history):
        if entry["seen_to"] >= since:
            yield {"event": ACCEPTED, "domain": domain, "at": entry["seen_from"], **entry}


def _weaker(weakening: Weakening) -> JsonObject:
    return {"event": WEAKER, **to_event(weakening)}
