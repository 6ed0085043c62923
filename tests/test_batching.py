"""Single questions that arrive together are combined into batches."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import pytest

from postfix_mta_sts import batching
from postfix_mta_sts.batching import BATCH_LIMIT, Batcher


class Squares:
    """Answers numbers with their squares, once `released` is set; has no answer below 0."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.released = asyncio.Event()
        self.error: Exception | None = None

    async def ask_all(self, numbers: Sequence[int]) -> Mapping[int, int]:
        """The function that the batcher calls."""
        self.batches.append(list(numbers))
        await self.released.wait()
        if self.error:
            raise self.error
        return {n: n * n for n in numbers if n >= 0}


@dataclass(frozen=True)
class Question:
    """Waits for the square of a number."""

    result: asyncio.Future[int]


class Answers(Batcher[int, int, Question]):
    """A batcher whose answers are the results of futures."""

    def __init__(self, squares: Squares, unusable: int | None = None) -> None:
        super().__init__(squares.ask_all, self._set)
        self._unusable = unusable

    def _set(self, question: Question, number: int) -> None:
        if number == self._unusable:
            raise ZeroDivisionError
        question.result.set_result(number)

    def answer(self, number: int) -> asyncio.Future[int]:
        """The answer for a number."""
        question = Question(asyncio.get_running_loop().create_future())
        self.ask(number, question)
        return question.result


@pytest.fixture
async def squares() -> Squares:
    """Squares that are not released yet."""
    return Squares()


async def test_questions_that_come_together_share_batches(squares: Squares) -> None:
    """Each gets its own answer; a key is asked for once, however many wait for it."""
    squares.released.set()
    batcher = Answers(squares)
    keys = [*range(150), *range(150)]
    assert await asyncio.gather(*map(batcher.answer, keys)) == [n * n for n in keys]
    assert [len(batch) for batch in squares.batches] == [
        *repeat(BATCH_LIMIT, 150 // BATCH_LIMIT),
        150 % BATCH_LIMIT,
    ]
    assert [n for batch in squares.batches for n in batch] == list(range(150))


async def test_later_questions_form_the_next_batch(squares: Squares) -> None:
    """A second batch starts beside the first when it is full; a third waits."""
    batcher = Answers(squares)
    answers = [batcher.answer(0)]
    await asyncio.sleep(0)
    answers += map(batcher.answer, range(1, BATCH_LIMIT))
    await asyncio.sleep(0)
    assert squares.batches == [[0]]
    answers += map(batcher.answer, range(BATCH_LIMIT, 3 * BATCH_LIMIT))
    await asyncio.sleep(0)
    assert squares.batches == [[0], [*range(1, BATCH_LIMIT + 1)]]
    squares.released.set()
    assert await asyncio.gather(*answers) == [n * n for n in range(3 * BATCH_LIMIT)]
    assert [n for batch in squares.batches for n in batch] == list(range(3 * BATCH_LIMIT))


async def test_questions_one_after_the_other(squares: Squares) -> None:
    """A question asked as soon as the last one is answered is answered too."""
    squares.released.set()
    batcher = Answers(squares)
    assert [await batcher.answer(n) for n in range(5)] == [0, 1, 4, 9, 16]
    assert squares.batches == [[n] for n in range(5)]


async def test_a_cancelled_question_is_skipped(squares: Squares) -> None:
    """The others of the batch get their answers."""
    batcher = Answers(squares)
    answers = [batcher.answer(n) for n in range(3)]
    await asyncio.sleep(0)
    answers[1].cancel()
    squares.released.set()
    assert [await answers[0], await answers[2]] == [0, 4]


@pytest.mark.parametrize("last", [BATCH_LIMIT, -1], ids=["raised", "no answer"])
async def test_an_error_goes_to_all_questions_of_the_batch(squares: Squares, last: int) -> None:
    """After an unexpected error no question waits for ever, and later ones are answered."""
    batcher = Answers(squares)
    squares.released.set()
    squares.error = ZeroDivisionError() if last >= 0 else None
    answers = [batcher.answer(n) for n in [last, 1, 2]]
    answers[1].cancel()
    for answer in [answers[0], answers[2]]:
        with pytest.raises((ZeroDivisionError, KeyError)):
            await answer
    squares.error = None
    assert await batcher.answer(5) == 25


async def test_an_answer_that_cannot_be_used(squares: Squares) -> None:
    """The error goes to the question whose answer it was; the others get theirs."""
    batcher = Answers(squares, unusable=4)
    squares.released.set()
    answers = [batcher.answer(n) for n in range(4)]
    with pytest.raises(ZeroDivisionError):
        await answers[2]
    assert [await answers[n] for n in (0, 1, 3)] == [0, 1, 9]


async def test_cancelled_questions_take_no_memory(
    squares: Squares, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that ask and disconnect leave nothing behind while a batch takes long."""
    monkeypatch.setattr(batching, "WAITING_LIMIT", 100)
    batcher = Answers(squares)
    first = batcher.answer(0)
    await asyncio.sleep(0)
    kept = [batcher.answer(1), batcher.answer(1), batcher.answer(2)]
    for number in range(1_000):
        batcher.answer(number).cancel()
    assert sum(map(len, batcher._waiting.values())) <= 101
    squares.released.set()
    assert await asyncio.gather(first, *kept) == [0, 1, 1, 4]
    assert batcher._number == 0
