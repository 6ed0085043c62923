"""What `MemoryStore` keeps for administrators, in dictionaries; see `AdminRecords`."""

from collections.abc import Sequence
from heapq import nsmallest
from operator import attrgetter

from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope
from postfix_mta_sts.mtasts.weakening import Weakening
from postfix_mta_sts.store.records import (
    CHECKS_LIMIT,
    EXCEPTIONS_LIMIT,
    WEAKENINGS_LIMIT,
    Changes,
    FleetNotes,
    short_check,
    short_weakening,
    too_many,
)


class MemoryRecords:
    """`AdminRecords` that are lost when the process ends."""

    def __init__(self) -> None:
        self._exceptions: dict[Scope, PolicyException] = {}
        self._checks: dict[Domain, Check] = {}
        self._weakenings: list[Weakening] = []
        self._said_at: float | None = None
        self._fleet_notes = FleetNotes()

    async def exceptions(self) -> Sequence[PolicyException]:
        """See `AdminRecords`."""
        return list(self._exceptions.values())

    async def put_exception(self, exception: PolicyException) -> None:
        """See `AdminRecords`."""
        if len(self._exceptions) >= EXCEPTIONS_LIMIT and exception.scope not in self._exceptions:
            raise too_many()
        self._exceptions[exception.scope] = exception

    async def remove_exception(self, scope: Scope) -> bool:
        """See `AdminRecords`."""
        return self._exceptions.pop(scope, None) is not None

    async def take_exceptions(self, changes: Changes, notes: FleetNotes) -> None:
        """See `AdminRecords`."""
        for scope, exception in changes.items():
            if exception:
                self._exceptions[scope] = exception
            else:
                self._exceptions.pop(scope, None)
        self._fleet_notes = notes

    async def fleet_notes(self) -> FleetNotes:
        """See `AdminRecords`."""
        return self._fleet_notes

    async def said_at(self) -> float | None:
        """See `AdminRecords`."""
        return self._said_at

    async def put_said_at(self, at: float) -> None:
        """See `AdminRecords`."""
        self._said_at = at

    async def put_check(self, check: Check) -> None:
        """See `AdminRecords`."""
        self._checks[check.domain] = short_check(check)
        if len(self._checks) > CHECKS_LIMIT:
            del self._checks[min(self._checks.values(), key=attrgetter("checked_at")).domain]

    async def check(self, domain: Domain) -> Check | None:
        """See `AdminRecords`."""
        return self._checks.get(domain)

    async def checks(self, since: float, after: Domain | None, limit: int) -> Sequence[Check]:
        """See `AdminRecords`."""
        found = self._checks.values()
        wanted = (c for c in found if c.checked_at >= since and c.domain > (after or ""))
        return nsmallest(limit, wanted, key=attrgetter("domain"))

    async def put_weakenings(self, *weakenings: Weakening) -> None:
        """See `AdminRecords`."""
        self._weakenings += map(short_weakening, weakenings)
        del self._weakenings[:-WEAKENINGS_LIMIT]

    async def weakenings(self, since: float, limit: int) -> Sequence[Weakening]:
        """See `AdminRecords`."""
        wanted = (each for each in self._weakenings[::-1] if each.at >= since)
        return sorted(wanted, key=attrgetter("at"), reverse=True)[:limit]

    def drop_check(self, domain: Domain) -> None:
        """Remove the last check of a domain."""
        self._checks.pop(domain, None)
