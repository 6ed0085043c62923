"""Every order in which store, network and fleet can answer: nothing known is taken away.

Three sources answer an attempt of a relay in a fleet: its store, whose read is slow or fails, the
fleet, and TXT record and Policy Host. An attempt runs through each order of their answers. The
fleet has a policy that a relay which knows its row would not take. Without a fleet see
`test_every_order`.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, Final

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, NoRecordError, StatusError
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, Discovered, State, live, restored
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.sources import Sources
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.fleet import FakeFleet, shared
from tests.support.resolvers import wait_for_end
from tests.support.surroundings import GOOD, START, found, policy
from tests.support.tally import Gate

OURS: Final = policy(mx="mx1.good.test")
THEIRS: Final = policy(mx="mx2.good.test")
"""What the fleet has: other mail servers."""
FETCHED: Final = policy(mx="mx3.good.test")
"""What the Policy Host has."""
DEAD: Final = StatusError("HTTP 503")

LIVE: Final = restored(OURS, PolicyId("a"), START - DAY, START)
ROWS: Final = {
    "no row": None,
    "row": LIVE,
    "expired row": restored(OURS, PolicyId("a"), START - 8 * DAY, START - 7 * DAY),
}
ANSWERS: Final[Mapping[str, Sequence[Any]]] = {
    "no record": [NoRecordError("NXDOMAIN"), DEAD],
    "silent": [DnsFailureError("SERVFAIL"), DEAD],
    "dead": [found(), DEAD],
    "policy": [found(), FETCHED],
}
"""Of the DNS and of the Policy Host, if it is asked."""


class SlowStore(MemoryStore):
    """A store whose reads wait, and then fail so many times."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.saved: list[State] = []
        self.reading = Gate()
        self._failures = failures

    async def put(self, row: State) -> None:
        """Make this the row."""
        await super().save(GOOD, row, START)

    async def load(self, domain: Domain) -> State | None:
        """See `Store`."""
        await self._read()
        return await super().load(domain)

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`."""
        await self._read()
        return dict(await super().load_all(domains))

    async def save(self, domain: Domain, state: State, asked_at: float) -> None:
        """See `Store`."""
        self.saved.append(state)
        await super().save(domain, state, asked_at)

    async def _read(self) -> None:
        await self.reading.passed()
        self._failures -= 1
        if self._failures >= 0:
            raise StoreError("the disk does not answer")


class Relay:
    """A relay in a fleet, whose sources answer when they are told to."""

    def __init__(self, answers: Sequence[Any], failures: int) -> None:
        self.store = SlowStore(failures)
        self.fleet = FakeFleet({GOOD: shared(THEIRS, age=HOUR)})
        self.answers = dict(zip(("dns", "https"), answers, strict=True))
        self.gates = {
            "row": self.store.reading,
            "fleet": self.fleet.looks,
            "dns": Gate(),
            "https": Gate(),
        }
        self.resolver = Resolver(
            Sources(self._discover, self._fetch, self.store, lambda: START, lambda: 0.0, 0.0),
            lookup_timeout=3600,
            limits=Limits(100, 2**30),
        )
        self.resolver.use_fleet(self.fleet)

    async def after(self, row: State | None, order: Sequence[str]) -> State | None:
        """The live policy after an attempt whose sources have answered in this order."""
        if row:
            await self.store.put(row)
        for gate in self.gates.values():
            gate.hold()
        result = self.resolver.find(GOOD)
        for source in order:
            await settle()
            self.gates[source].release()
        await wait_for_end(self.resolver)
        state = (await result).state
        await self.resolver.close()
        return live(state, START)

    async def _answer(self, source: str) -> Any:  # noqa: ANN401 (see `ANSWERS`)
        await self.gates[source].passed()
        answer = self.answers[source]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _discover(self, _: Domain) -> Discovered:
        discovered: Discovered = await self._answer("dns")
        return discovered

    async def _fetch(self, _: Domain, on_addresses: Callable[[], None]) -> Policy:
        on_addresses()
        fetched: Policy = await self._answer("https")
        return fetched


async def settle() -> None:
    """Let all tasks run until they wait for an answer."""
    for _ in range(15):
        await asyncio.sleep(0)


def orders() -> Iterator[tuple[str, ...]]:
    """Every order of the sources."""
    yield from permutations(("row", "fleet", "dns", "https"))


@pytest.mark.parametrize("answers", ANSWERS)
@pytest.mark.parametrize("failures", [0, 1])
@pytest.mark.parametrize("stored", ROWS)
async def test_a_row_that_is_read_in_the_end(stored: str, failures: int, answers: str) -> None:
    """A policy in force gives way to a fetched one alone; without one, the fleet's protects."""
    for order in orders():
        relay = Relay(ANSWERS[answers], failures)
        state = await relay.after(ROWS[stored], order)
        assert state, order
        if stored == "row":
            assert state.policy == (FETCHED if answers == "policy" else OURS), order
        else:
            assert state.policy in {THEIRS, *ANSWERS[answers][1:]}, order


@pytest.mark.parametrize("answers", ANSWERS)
@pytest.mark.parametrize("stored", ROWS)
async def test_a_row_that_is_never_read(stored: str, answers: str) -> None:
    """The fleet's policy comes in place of nothing, and only a fetched one replaces the row."""
    for order in orders():
        relay = Relay(ANSWERS[answers], failures=1_000)
        state = await relay.after(ROWS[stored], order)
        assert state, order
        assert state.policy == (FETCHED if answers == "policy" else THEIRS), order
        assert [each.policy for each in relay.store.saved] == [FETCHED] * (answers == "policy")
