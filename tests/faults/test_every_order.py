"""Every order in which the answers about a domain can come: what is known is never given up.

Three sources answer an attempt: the store, whose read is slow, the policy question in up to three
steps, and DANE in up to two. An attempt runs through each order of their answers. After each one,
what a look-up would be answered by if its time ended now is compared with what `expected` makes of
the answers so far, whatever their order. `decide` then chooses the answer (`test_decision`).
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from typing import Any, Final, TypeAlias

import pytest

from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.decision import (
    DaneFinding,
    Knowledge,
    KnownPolicy,
    KnownVerdict,
    PolicyStep,
    finding,
    known_policy,
    known_verdict,
)
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DnsFailureError,
    NoRecordError,
    OwnFaultError,
    StatusError,
)
from postfix_mta_sts.mtasts.lifecycle import DAY, Discovered, State
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.verdict import after_verdict
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.sources import Sources
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.surroundings import GOOD, START, UNANSWERED, found, policy
from tests.support.tally import Gate

Answers: TypeAlias = Sequence[Any]
"""A `Discovered`, `ADDRESSES`, a `Policy`; `DaneOutcome`s, the last one final; or errors."""

USABLE, ABSENT, FAILED = HostState.USABLE, HostState.ABSENT, HostState.FAILED
ADDRESSES: Final = "the addresses of the Policy Host are known"
OWN_FAULT: Final = OwnFaultError("no network process")


def hosts(*states: HostState) -> DaneOutcome:
    """The outcome for a signed MX RRset with hosts in these states."""
    each = tuple(Host(f"mx{n}.good.test", state, "TLSA") for n, state in enumerate(states))
    return DaneOutcome(MxState.SECURE, "MX: signed", each, 3600)


def row(verdict: DaneOutcome | None = None, age: float = 0.0) -> State:
    """A row with an enforced policy that need not be fetched yet, and with a live verdict."""
    dane = after_verdict(None, verdict, START - 60) if verdict else None
    at = START - 60 - age
    return lifecycle.restored(policy(), PolicyId("old"), at, at + DAY, dane)


ROWS: Final = {
    "no row": None,
    "policy": row(),
    "policy and verdict": row(hosts(USABLE, USABLE)),
    "expired policy, verdict": row(hosts(USABLE, USABLE), age=8 * DAY),
}
POLICIES: Final[dict[str, Answers]] = {
    "no record": [NoRecordError("NXDOMAIN")],
    "own fault": [OWN_FAULT],
    "policy": [found(), ADDRESSES, policy("testing")],
    "404": [found(), ADDRESSES, StatusError("HTTP 404")],
    "no addresses": [found(), DnsFailureError("SERVFAIL")],
}
VERDICTS: Final[dict[str, Answers]] = {
    "all": [hosts(FAILED, FAILED), hosts(USABLE, USABLE)],
    "one fails": [hosts(FAILED, FAILED), hosts(ABSENT, FAILED)],
    "MX fails": [UNANSWERED],
    "own fault": [hosts(USABLE, FAILED), OWN_FAULT],
}


class Attempt:
    """The answers of one attempt so far, and the resolver that gets them."""

    def __init__(self, stored: State | None, policies: Answers, verdicts: Answers) -> None:
        self.stored = stored
        self.is_read = False
        self.policies: list[Any] = []
        self.verdicts: list[Any] = []
        self._left = {"policy": iter(policies), "verdict": iter(verdicts)}
        self._last_verdict = verdicts[-1]
        self._given: dict[str, asyncio.Queue[Any]] = {each: asyncio.Queue() for each in self._left}
        self._reading = Gate()

    @property
    def has_verdict(self) -> bool:
        """Whether the DANE look-up has ended."""
        return self.verdicts[-1:] == [self._last_verdict]

    async def start(self) -> tuple[Resolver, Callable[[], Knowledge]]:
        """Start it by a look-up that waits until its time is up; what it knows comes from these."""
        store = SlowStore(self._reading)
        if self.stored:
            await store.save(GOOD, self.stored, START)
        self._reading.hold()
        sources = Sources(self._discover, self._fetch, store, lambda: START, lambda: 0.0, 0.0)
        resolver = Resolver(sources, lookup_timeout=3600, limits=Limits(100, 2**30))
        resolver.use_dane(self._look_up_dane, "name servers")
        resolver.find(GOOD, lambda _: False)
        await settle()
        flight = resolver._flights.get(GOOD)
        assert flight
        return resolver, lambda: flight.knowledge

    async def give(self, source: str) -> None:
        """Give the next answer of a source, and wait until nothing more follows from it."""
        if source == "row":
            self.is_read = True
            self._reading.release()
        else:
            answer = next(self._left[source])
            (self.policies if source == "policy" else self.verdicts).append(answer)
            self._given[source].put_nowait(answer)
        await settle()

    async def _next(self, source: str) -> Any:  # noqa: ANN401 (see `Answers`)
        answer = await self._given[source].get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _discover(self, _: Domain) -> Discovered:
        discovered: Discovered = await self._next("policy")
        return discovered

    async def _fetch(self, _: Domain, on_addresses: Callable[[], None]) -> Policy:
        await self._next("policy")
        on_addresses()
        fetched: Policy = await self._next("policy")
        return fetched

    async def _look_up_dane(
        self, _: Domain, on_progress: Callable[[DaneOutcome | None], None]
    ) -> DaneOutcome:
        while (outcome := await self._next("verdict")) != self._last_verdict:
            on_progress(outcome)
        final: DaneOutcome = outcome
        return final


class SlowStore(MemoryStore):
    """A store whose reads wait at a gate."""

    def __init__(self, reading: Gate) -> None:
        super().__init__()
        self._reading = reading

    async def load_all(self, domains: Sequence[Domain]) -> dict[Domain, State]:
        """See `Store`; the rows are those of the end of the wait."""
        await self._reading.passed()
        return dict(await super().load_all(domains))


async def settle() -> None:
    """Let all tasks run until they wait for an answer."""
    for _ in range(15):
        await asyncio.sleep(0)


def known(knowledge: Knowledge) -> tuple[KnownPolicy, KnownVerdict]:
    """What a look-up is answered by if its time ends now; a policy in force counts at any step."""
    by_policy, verdict = known_policy(knowledge, START), known_verdict(knowledge, START)
    return (
        KnownPolicy(by_policy.mode, PolicyStep.ANSWERED) if by_policy.mode else by_policy
    ), verdict


def expected(attempt: Attempt) -> tuple[KnownPolicy, KnownVerdict]:
    """What is known by these answers, in whatever order they came."""
    state = attempt.stored if attempt.is_read else None
    return expected_policy(attempt, state), expected_verdict(attempt, state)


def expected_policy(attempt: Attempt, state: State | None) -> KnownPolicy:
    """A policy that was fetched, else that of the row; without it, how far the question came."""
    last = attempt.policies[-1] if attempt.policies else None
    live = lifecycle.live(state, START)
    in_force = last if isinstance(last, Policy) else live and live.policy
    if in_force:
        return KnownPolicy(in_force.mode, PolicyStep.ANSWERED)
    return KnownPolicy(None, STEPS[type(last)] if attempt.is_read else PolicyStep.UNREAD)


STEPS: Final = {
    type(None): PolicyStep.TXT_PENDING,
    Discovered: PolicyStep.ADDRESSES_PENDING,
    str: PolicyStep.GET_PENDING,
    NoRecordError: PolicyStep.ANSWERED,
    StatusError: PolicyStep.FETCH_FAILED,
    DnsFailureError: PolicyStep.DNS_FAILED,
    OwnFaultError: PolicyStep.OWN_FAULT,
}
"""How far the policy question has come with an answer."""


def expected_verdict(attempt: Attempt, state: State | None) -> KnownVerdict:
    """The verdict of the row with what the look-up says; without one, what that has found so far.

    A failure of the DNS or of this program is final only when the row has been read.
    """
    last = attempt.verdicts[-1] if attempt.verdicts else None
    outcome = last if isinstance(last, DaneOutcome) else None
    if state and state.dane:
        is_new = attempt.has_verdict and outcome is not None
        verdict = after_verdict(state.dane, outcome, START) if is_new and outcome else state.dane
        return KnownVerdict(finding(verdict.outcome))
    is_final = attempt.has_verdict and (
        attempt.is_read or (outcome is not None and outcome.is_complete)
    )
    so_far = finding(outcome) if outcome else DaneFinding.UNKNOWN
    return KnownVerdict(so_far, is_pending=not is_final)


def orders(policies: Answers, verdicts: Answers) -> Iterator[tuple[str, ...]]:
    """Every order of the answers of the three sources."""
    events = ["row"] + ["policy"] * len(policies) + ["verdict"] * len(verdicts)
    yield from sorted(set(permutations(events)))


@pytest.mark.parametrize("verdicts", VERDICTS)
@pytest.mark.parametrize("policies", POLICIES)
@pytest.mark.parametrize("stored", ROWS)
async def test_every_order(stored: str, policies: str, verdicts: str) -> None:
    """At each point, what is known depends on the answers and not on their order."""
    for order in orders(POLICIES[policies], VERDICTS[verdicts]):
        attempt = Attempt(ROWS[stored], POLICIES[policies], VERDICTS[verdicts])
        resolver, knowledge = await attempt.start()
        for number, source in enumerate(order):
            await attempt.give(source)
            assert known(knowledge()) == expected(attempt), order[: number + 1]
        assert knowledge().is_complete
        await resolver.close()
