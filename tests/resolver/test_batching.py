"""Many who ask for one thing each, and how often it is asked for."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import repeat

import pytest

from postfix_mta_sts.resolver.batching import BATCH_LIMIT, Batcher

LATER = 1_000
"""What is not known at once, from this number on."""


class Source:
    """A place that is asked for squares, and answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.free = asyncio.Event()
        self.fault: Exception | None = None
        self.later = asyncio.get_running_loop().create_future()
        """What is said of the numbers that are not known at once."""

    async def ask_all(self, numbers: Sequence[int]) -> Mapping[int, int | asyncio.Future[int]]:
        """Something of all, but of those below 0."""
        self.asked.append(list(numbers))
        await self.free.wait()
        if self.fault:
            raise self.fault
        return {n: n * n if n < LATER else self.later for n in numbers if n >= 0}


@pytest.fixture
async def source() -> Source:
    """A place that does not answer yet."""
    return Source()


async def test_those_who_come_together_share_questions(source: Source) -> None:
    """Each gets its own; a thing is asked for once, however many want it."""
    source.free.set()
    batches = Batcher(source.ask_all)
    wanted = [*range(150), *range(150)]
    assert await asyncio.gather(*map(batches.ask, wanted)) == [n * n for n in wanted]
    assert [len(asked) for asked in source.asked] == [
        *repeat(BATCH_LIMIT, 150 // BATCH_LIMIT),
        150 % BATCH_LIMIT,
    ]
    assert [n for asked in source.asked for n in asked] == list(range(150))


async def test_who_comes_meanwhile_is_part_of_the_next(source: Source) -> None:
    """A second question is asked beside the first when it is a full one, and no third."""
    batches = Batcher(source.ask_all)
    answers = [batches.ask(0)]
    await asyncio.sleep(0)
    answers += map(batches.ask, range(1, BATCH_LIMIT))
    await asyncio.sleep(0)
    assert source.asked == [[0]]
    answers += map(batches.ask, range(BATCH_LIMIT, 3 * BATCH_LIMIT))
    await asyncio.sleep(0)
    assert source.asked == [[0], [*range(1, BATCH_LIMIT + 1)]]
    source.free.set()
    assert await asyncio.gather(*answers) == [n * n for n in range(3 * BATCH_LIMIT)]
    assert [n for asked in source.asked for n in asked] == list(range(3 * BATCH_LIMIT))


async def test_one_after_the_other(source: Source) -> None:
    """Who asks as soon as there is an answer gets one too."""
    source.free.set()
    batches = Batcher(source.ask_all)
    assert [await batches.ask(n) for n in range(5)] == [0, 1, 4, 9, 16]
    assert source.asked == [[n] for n in range(5)]


async def test_what_is_not_known_at_once_keeps_nobody_waiting(source: Source) -> None:
    """The others of a question have their answers; it comes to all who wait for it."""
    source.free.set()
    batches = Batcher(source.ask_all)
    slow = [batches.ask(LATER), batches.ask(LATER + 1), batches.ask(LATER)]
    assert await batches.ask(3) == 9
    slow[1].cancel()
    assert not slow[0].done()
    source.later.set_result(7)
    assert [await slow[0], await slow[2]] == [7, 7]


async def test_who_has_given_up_is_passed_over(source: Source) -> None:
    """The others of a question get their answer."""
    batches = Batcher(source.ask_all)
    answers = [batches.ask(n) for n in range(3)]
    await asyncio.sleep(0)
    answers[1].cancel()
    source.free.set()
    assert [await answers[0], await answers[2]] == [0, 4]


@pytest.mark.parametrize("last", [BATCH_LIMIT, -1], ids=["raised", "nothing said"])
async def test_a_fault_is_told_to_those_whom_it_strikes(source: Source, last: int) -> None:
    """A question that ends in a fault nobody thought of leaves nobody waiting, then or later."""
    batches = Batcher(source.ask_all)
    source.free.set()
    source.fault = ZeroDivisionError() if last >= 0 else None
    answers = [batches.ask(n) for n in [last, 1, 2]]
    answers[1].cancel()
    for answer in [answers[0], answers[2]]:
        with pytest.raises((ZeroDivisionError, KeyError)):
            await answer
    source.fault = None
    assert await batches.ask(5) == 25
