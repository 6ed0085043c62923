"""The recheck queue: first come, first served, at a limited rate, a limited number at once."""

import asyncio
from itertools import pairwise

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.resolver.recheck_queue import (
    BURST,
    CONCURRENCY,
    INTERVAL,
    QUEUE_LIMIT,
    TRIED_AT_ONCE,
    RecheckQueue,
)

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class Rechecks:
    """A queue, and the domains whose recheck it has started."""

    def __init__(self, *, due: bool = True, room: int = CONCURRENCY) -> None:
        self.started: list[Domain] = []
        self.queue = RecheckQueue(self._start, room)
        self._due = due

    def add(self, domains: list[Domain]) -> None:
        """Queue these domains."""
        for domain in domains:
            self.queue.add(domain)

    async def wait_for(self, number: int) -> None:
        """Return when this many rechecks have started."""
        async with asyncio.timeout(60):
            while len(self.started) < number:  # noqa: ASYNC110 (no event to wait for)
                await asyncio.sleep(0.001)

    def _start(self, domain: Domain) -> bool:
        self.started.append(domain)
        return self._due


def make_domains(number: int) -> list[Domain]:
    """Distinct domains."""
    return [Domain(f"d{n}.test") for n in range(number)]


async def test_rechecks_start_in_order_at_a_limited_rate() -> None:
    """A burst at once, then one per interval, in the order of arrival."""
    rechecks = Rechecks()
    loop = asyncio.get_running_loop()
    before = loop.time()
    rechecks.add(make_domains(30))
    allowed = 1 + BURST + (loop.time() - before) / INTERVAL  # whatever the time that `add` took
    assert len(rechecks.started) <= allowed
    await rechecks.wait_for(30)
    assert rechecks.started == make_domains(30)
    rechecks.queue.close()


async def test_rechecks_under_way_are_limited() -> None:
    """When one ends, the next starts."""
    rechecks = Rechecks(room=20)
    rechecks.add(make_domains(21))
    await rechecks.wait_for(20)
    rechecks.queue.resume()
    assert (len(rechecks.started), len(rechecks.queue)) == (20, 1)
    rechecks.queue.ended()
    rechecks.queue.resume()
    await rechecks.wait_for(21)
    rechecks.queue.close()


async def test_rechecks_that_are_not_due_take_no_time() -> None:
    """If a recheck is not started, the next domain is tried at once."""
    rechecks = Rechecks(due=False)
    rechecks.add(make_domains(1000))
    assert rechecks.started == make_domains(1000)


async def test_many_that_are_no_longer_due_do_not_block_the_loop() -> None:
    """After some of them other tasks run, then the next are tried."""
    rechecks = Rechecks(due=False, room=0)
    rechecks.add(make_domains(5 * TRIED_AT_ONCE))
    rechecks.queue._room = 1
    rechecks.queue.resume()
    numbers = [len(rechecks.started)]
    while rechecks.queue:
        await asyncio.sleep(0)
        numbers.append(len(rechecks.started))
    steps = {after - before for before, after in pairwise([0, *numbers])}
    assert steps <= {0, TRIED_AT_ONCE}
    assert rechecks.started == make_domains(5 * TRIED_AT_ONCE)
    rechecks.queue.close()


async def test_the_queue_is_bounded_and_can_be_closed() -> None:
    """A full queue takes no more; discarded domains, and those queued at `close`, never start."""
    rechecks = Rechecks()
    rechecks.add(make_domains(QUEUE_LIMIT + 356))
    assert len(rechecks.queue) == QUEUE_LIMIT
    queued = make_domains(QUEUE_LIMIT)[-1]
    rechecks.queue.discard(queued)
    assert queued not in rechecks.queue
    rechecks.queue.close()
    assert len(rechecks.queue) == 0
