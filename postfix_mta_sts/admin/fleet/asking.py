"""Ask the shared store for administrators; `views` says what the answers mean.

A store that does not answer costs what only it has, and some seconds (`store.fleet.limits`), never
what this relay knows.
"""

from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.admin.fleet import views
from postfix_mta_sts.admin.serialize import JsonObject
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store import HistoryEntry
from postfix_mta_sts.store.fleet.requests import (
    CallFleet,
    History,
    Look,
    ReadHistory,
    ReadRelays,
    Relays,
    Seen,
    problem_of,
)
from postfix_mta_sts.values import TrackedValue

SECONDS: Final = 2.0
"""That a look for an administrator may take: more than one that mail waits for."""


class Fleet(TrackedValue, frozen=True):
    """The fleet that this relay belongs to."""

    ask: CallFleet
    name: str
    """Of this relay."""
    url: str
    """Of the store, without the password."""

    async def relays(self, now: float) -> JsonObject:
        """Report what the relays say of themselves."""
        answer = await self.ask(ReadRelays())
        if isinstance(answer, Relays):
            return views.relays_to_json(answer, self.name, now)
        return {"relays": [], "refused": 0, "problem": problem_of(answer)}

    async def shared(self, domain: Domain, known: State | None, now: float) -> JsonObject:
        """Report what the store has of a domain, and what this relay makes of it."""
        answer = await self.ask(Look(domain, SECONDS, can_wait=True))
        if isinstance(answer, Seen):
            return views.seen_to_json(answer, known, now)
        return {"state": "unavailable", "reason": problem_of(answer), "policy": None}

    async def history(self, domain: Domain) -> tuple[Sequence[HistoryEntry], str]:
        """Return the policies that a domain has had, the newest first; and why there are none."""
        answer = await self.ask(ReadHistory(domain))
        return (answer.entries, "") if isinstance(answer, History) else ((), problem_of(answer))
