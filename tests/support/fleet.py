"""A fleet in memory: what relays share, as attempts and the parts of the daemon see it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.sharing import SharedPolicy
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    AnyRequest,
    Claim,
    Done,
    Held,
    Look,
    OfferPolicy,
    Release,
    Seen,
    Unavailable,
)
from tests.support.surroundings import policy
from tests.support.tally import Gate

AWAY = Unavailable("no answer")


def shared(
    published: Policy | None = None,
    policy_id: str = "a",
    age: float = 60.0,
    order: int = 1,
    by: str = "mx2",
) -> SharedPolicy:
    """A policy that another relay has fetched."""
    return SharedPolicy(published or policy(), PolicyId(policy_id), age, by, order)


@dataclass
class FakeFleet:
    """See `SharedPolicies`; what was asked of it is noted in `asked`."""

    policies: dict[Domain, SharedPolicy] = field(default_factory=dict)
    """Found by a look."""
    refused: str = ""
    away: bool = False
    late: bool = False
    """Whether only looks that can wait are answered."""
    seconds: float = 0.0
    """That a look takes of the budget."""
    held: dict[Domain, Held | Unavailable] = field(default_factory=dict)
    """The ends of claims; else the relay gets the lease."""
    budget: float = 0.25
    asked: list[str] = field(default_factory=list)
    offers: list[tuple[Domain, State, float, str]] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    looks: Gate = field(default_factory=Gate)
    late_looks: Gate = field(default_factory=Gate)
    claims: Gate = field(default_factory=Gate)
    claimed: list[tuple[int, float, float]] = field(default_factory=list)

    async def look(
        self, domain: Domain, _seconds: float, *, can_wait: bool = False
    ) -> Seen | Unavailable:
        """See `SharedPolicies`."""
        self.asked.append("late look" if can_wait else "look")
        await (self.late_looks if can_wait else self.looks).passed()
        if self.away or (self.late and not can_wait):
            return AWAY
        return Seen(self.policies.get(domain), self.refused, self.seconds)

    async def claim(
        self, domain: Domain, seen: int, wait: float, seconds: float
    ) -> Held | Unavailable:
        """See `SharedPolicies`."""
        self.asked.append("claim")
        self.claimed.append((seen, wait, seconds))
        await self.claims.passed()
        return AWAY if self.away else self.held.get(domain, Held("token", None))

    def release(self, _domain: Domain, token: str) -> None:
        """See `SharedPolicies`."""
        self.released.append(token)

    def offer(self, domain: Domain, state: State, asked_at: float, token: str) -> None:
        """See `SharedPolicies`."""
        self.offers.append((domain, state, asked_at, token))


@dataclass
class FakeStore:
    """A shared store behind `NetworkClient.ask_fleet`: requests are answered at once, and noted."""

    away: bool = False
    is_full: bool = False
    """Whether it keeps nothing, as one whose records have another key."""
    policies: dict[Domain, OfferPolicy] = field(default_factory=dict)
    requests: list[AnyRequest] = field(default_factory=list)
    gate: Gate = field(default_factory=Gate)
    claims: Gate = field(default_factory=Gate)
    """Holds back claims alone."""
    token: str = "token"  # noqa: S105 (it is one of a test)
    under_way: int = 0
    most: int = 0
    """Requests under way at once."""

    async def ask(self, request: AnyRequest) -> AnyAnswer:
        """See `NetworkClient.ask_fleet`."""
        self.requests.append(request)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0)
            await self.gate.passed()
            if isinstance(request, Claim):
                await self.claims.passed()
        finally:
            self.under_way -= 1
        return AWAY if self.away else self._answer(request)

    def of(self, kind: type[AnyRequest]) -> Sequence[AnyRequest]:
        """The requests of a kind."""
        return [request for request in self.requests if isinstance(request, kind)]

    def _answer(self, request: AnyRequest) -> AnyAnswer:
        match request:
            case Look(domain):
                offer = self.policies.get(domain)
                found = shared(policy(), offer.policy_id, offer.age) if offer else None
                return Seen(found)
            case Claim():
                return Held(self.token, None)
            case OfferPolicy():
                if not self.is_full:
                    self.policies[request.domain] = request
                return Done(is_kept=not self.is_full)
            case Release():
                return Done()
            case _:
                raise TypeError(request)
