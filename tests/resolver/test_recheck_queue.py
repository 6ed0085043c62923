"""The queue of rechecks: first come, first served, few at a time, and none for nothing."""

import asyncio

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.resolver.recheck_queue import BURST, CONCURRENCY, QUEUE_LIMIT, RecheckQueue

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


def domains(number: int) -> list[Domain]:
    """So many domains."""
    return [Domain(f"d{n}.test") for n in range(number)]


async def until(begun: list[Domain], number: int) -> None:
    """Return when so many have begun."""
    async with asyncio.timeout(30):
        while len(begun) < number:  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.001)


async def test_in_their_order() -> None:
    """Some at once, the others later, all in the order in which they came."""
    begun: list[Domain] = []
    queue = RecheckQueue(lambda domain: not begun.append(domain))  # type: ignore[func-returns-value] # it begins
    for domain in domains(30):
        queue.add(domain)
    assert len(begun) <= 1 + BURST
    await until(begun, 30)
    assert begun == domains(30)
    queue.close()


async def test_no_more_than_so_many_under_way() -> None:
    """What is over makes room for the next."""
    begun: list[Domain] = []
    queue = RecheckQueue(lambda domain: not begun.append(domain))  # type: ignore[func-returns-value] # it begins
    for domain in domains(CONCURRENCY + 1):
        queue.add(domain)
    await until(begun, CONCURRENCY)
    queue.resume()
    assert (len(begun), len(queue)) == (CONCURRENCY, 1)
    queue.ended()
    queue.resume()
    await until(begun, CONCURRENCY + 1)
    queue.close()


async def test_what_is_not_due_takes_no_time() -> None:
    """Where there is no need, the next has the turn at once."""
    looked_at: list[Domain] = []

    def refuse(domain: Domain) -> bool:
        looked_at.append(domain)
        return False

    queue = RecheckQueue(refuse)
    for domain in domains(1000):
        queue.add(domain)
    assert looked_at == domains(1000)


async def test_bounded_and_ended() -> None:
    """A full queue takes no more; what is discarded, or waits at the end, never begins."""
    begun: list[Domain] = []
    queue = RecheckQueue(lambda domain: not begun.append(domain))  # type: ignore[func-returns-value] # it begins
    for domain in domains(QUEUE_LIMIT + 100):
        queue.add(domain)
    assert len(queue) <= QUEUE_LIMIT
    waiting = next(domain for domain in domains(QUEUE_LIMIT) if domain in queue)
    queue.discard(waiting)
    assert waiting not in queue
    queue.close()
    assert len(queue) == 0
