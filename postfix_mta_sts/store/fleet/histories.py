"""The policies that a domain has had, as the fleet knows them.

Each relay adds what it has fetched. Two that add at the same time both have read the same order;
the record of one is not kept then, and it reads again.
"""

from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.policy import Policy, shortened
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.store import HistoryEntry
from postfix_mta_sts.store.fleet.bodies import history_body, history_of
from postfix_mta_sts.store.fleet.clocks import Moment
from postfix_mta_sts.store.fleet.engine import SECOND, Kind, Name
from postfix_mta_sts.store.fleet.envelope import Opened
from postfix_mta_sts.store.fleet.records import Records, latest_of
from postfix_mta_sts.store.fleet.requests import History, ReadHistory
from postfix_mta_sts.store.history import MX_BYTES, merge_history
from postfix_mta_sts.values import Value

LIFE: Final = 90 * 86_400.0
"""Seconds that a history is kept after the last fetch."""
RETRIES: Final = 2
"""Of adding; more relays than that do not fetch one policy at the same time."""


class Known(Value, frozen=True):
    """What the fleet knows of a domain's policies at a moment."""

    domain: Domain
    moment: Moment
    entries: tuple[HistoryEntry, ...]
    """Oldest first, by the clock of the store."""
    order: int
    """Of the record; -1: there is none that stays."""


class Histories:
    """Reads and adds; each method raises `FleetError`."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def read(self, request: ReadHistory) -> History:
        """Read the policies that a domain has had."""
        known = await self.known(request.domain)
        return History(tuple(map(known.moment.entry_to_relay, reversed(known.entries))))

    async def known(self, domain: Domain) -> Known:
        """Read what is known of a domain."""
        name = Name(Kind.HISTORY, domain)
        moment, records = await self._records.read([name])

        def parse(opened: Opened) -> Known:
            entries = history_of(domain, opened, moment.store)
            is_ahead = opened.order > latest_of(moment)
            return Known(domain, moment, entries, -1 if is_ahead else opened.order)

        found = self._records.parsed(name, records.get(name), parse).value
        return found or Known(domain, moment, (), -1)

    async def add(self, known: Known, policy: Policy, policy_id: PolicyId, fetched: int) -> None:
        """Add a policy that was fetched at a time of the store to what is known."""
        at = fetched / SECOND
        new = HistoryEntry(policy_id, policy.mode, shortened(policy.mx, MX_BYTES), at, at)
        for _ in range(RETRIES):
            if await self._put(known, new):
                return
            known = await self.known(known.domain)
        await self._put(known, new)

    async def _put(self, known: Known, new: HistoryEntry) -> bool:
        """Put what is known and one more; return whether it is there now."""
        merged = merge_history(known.entries, new)
        if merged == list(known.entries):
            return True
        return await self._records.put(
            Name(Kind.HISTORY, known.domain),
            max(known.order + 1, round(new.seen_to * SECOND)),
            history_body(known.domain, merged),
            known.moment.after(LIFE),
            latest_of(known.moment),
        )
