"""Many who ask for one state each, and how often the store is asked."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store.batches import AT_ONCE, Batches
from tests.support.states import a_state

DOMAINS = [Domain(f"d{n}.test") for n in range(150)]
KNOWN = {domain: a_state(float(n)) for n, domain in enumerate(DOMAINS[:100])}


class Source:
    """A place that is asked, and answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[list[Domain]] = []
        self.free = asyncio.Event()
        self.fault: Exception | None = None

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`."""
        self.asked.append(list(domains))
        await self.free.wait()
        if self.fault:
            raise self.fault
        return {domain: KNOWN[domain] for domain in domains if domain in KNOWN}


@pytest.fixture
def source() -> Source:
    """A place that does not answer yet."""
    return Source()


async def test_those_who_come_together_share_questions(source: Source) -> None:
    """Each gets its own; a domain is asked for once, however many want it."""
    source.free.set()
    batches = Batches(source.load_all)
    wanted = [*DOMAINS, *DOMAINS]
    assert await asyncio.gather(*map(batches.load, wanted)) == [KNOWN.get(d) for d in wanted]
    assert [len(asked) for asked in source.asked] == [AT_ONCE] * 9 + [150 - 9 * AT_ONCE]
    assert [domain for asked in source.asked for domain in asked] == DOMAINS


async def test_who_comes_meanwhile_is_part_of_the_next(source: Source) -> None:
    """One question is under way at a time, and none is begun that nobody waits for."""
    batches = Batches(source.load_all)
    first = batches.load(DOMAINS[0])
    await asyncio.sleep(0)
    others = [batches.load(domain) for domain in DOMAINS[1:4]]
    await asyncio.sleep(0)
    assert source.asked == [DOMAINS[:1]]
    source.free.set()
    assert await asyncio.gather(first, *others) == [KNOWN[domain] for domain in DOMAINS[:4]]
    assert source.asked == [DOMAINS[:1], DOMAINS[1:4]]
    assert await batches.load(DOMAINS[4]) == KNOWN[DOMAINS[4]]


async def test_who_has_given_up_is_passed_over(source: Source) -> None:
    """The others of a question get their answer."""
    batches = Batches(source.load_all)
    states = [batches.load(domain) for domain in DOMAINS[:3]]
    await asyncio.sleep(0)
    states[1].cancel()
    source.free.set()
    assert await states[0] == KNOWN[DOMAINS[0]]
    assert await states[2] == KNOWN[DOMAINS[2]]


async def test_a_fault_is_told_to_those_whom_it_strikes(source: Source) -> None:
    """A question that ends in a fault nobody thought of leaves nobody waiting, then or later."""
    batches = Batches(source.load_all)
    source.free.set()
    source.fault = ZeroDivisionError()
    states = [batches.load(domain) for domain in DOMAINS[: AT_ONCE + 1]]
    states[1].cancel()
    for state in [states[0], *states[2:]]:
        with pytest.raises(ZeroDivisionError):
            await state
    source.fault = None
    assert await batches.load(DOMAINS[0]) == KNOWN[DOMAINS[0]]
