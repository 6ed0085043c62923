"""Combine single questions that arrive together into batches.

The caller provides the function that answers a batch, and one that uses an answer. An error goes to
all that wait for the batch. Each read of the store has a fixed cost, for the thread and the
timeout, that is higher than the cost of a row.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

BATCH_LIMIT: Final = 24
"""Keys in a batch, so that the first does not wait long for the last, nor a late key for all."""
CONCURRENCY: Final = 2
"""Batches under way at once: one is read while the answers of the other are used."""
WAITING_LIMIT: Final = 10_000
"""Questions that wait, before cancelled ones are dropped: clients that ask and disconnect leave
them while batches take long."""


class Question(Protocol):
    """What waits for an answer."""

    @property
    def result(self) -> asyncio.Future[Any]:
        """Done if the answer is not wanted any more."""


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Q = TypeVar("Q", bound=Question)

AskAll: TypeAlias = Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]
"""Answers every key of a batch."""


class Batcher(Generic[K, V, Q]):
    """Keys asked for while batches are under way form the next batch.

    `use` gets each question with its answer.
    """

    def __init__(self, ask_all: AskAll[K, V], use: Callable[[Q, V], None]) -> None:
        self._ask_all = ask_all
        self._use = use
        self._waiting: dict[K, list[Q]] = {}
        self._number = 0  # of questions in `_waiting`
        self._limit = WAITING_LIMIT
        self._tasks: set[asyncio.Task[None] | None] = set()

    def ask(self, key: K, question: Q) -> None:
        """Answer a question about a key; cancel its result to stop waiting."""
        self._waiting.setdefault(key, []).append(question)
        self._number += 1
        if self._number > self._limit:
            self._drop_cancelled()
        if not self._tasks or self._needs_another_task():
            loop = asyncio.get_running_loop()
            self._tasks.add(loop.create_task(self._run(), name="batcher"))

    def _needs_another_task(self) -> bool:
        return len(self._tasks) < CONCURRENCY and len(self._waiting) >= BATCH_LIMIT

    def _drop_cancelled(self) -> None:
        """Drop cancelled questions; the next time is when the number has doubled."""
        self._number = 0
        for key, waiting in list(self._waiting.items()):
            waiting[:] = [question for question in waiting if not question.result.done()]
            self._number += len(waiting)
            if not waiting:
                del self._waiting[key]
        self._limit = max(WAITING_LIMIT, 2 * self._number)

    async def _run(self) -> None:
        while self._waiting:
            keys = list(islice(self._waiting, BATCH_LIMIT))
            batch = {key: self._waiting.pop(key) for key in keys}
            self._number -= sum(map(len, batch.values()))
            await self._ask(batch)
        self._tasks.discard(asyncio.current_task())  # before another key is asked for

    async def _ask(self, batch: Mapping[K, Sequence[Q]]) -> None:
        try:
            answers = await self._ask_all(list(batch))
            answered = [(waiting, answers[key]) for key, waiting in batch.items()]
        except Exception as error:  # noqa: BLE001 (the top of a task: all that wait get the error)
            for question in chain.from_iterable(batch.values()):
                _fail(question, error)
            return
        for waiting, answer in answered:
            for question in waiting:
                self._answer(question, answer)

    def _answer(self, question: Q, answer: V) -> None:
        if question.result.done():
            return
        try:
            self._use(question, answer)
        except Exception as error:  # noqa: BLE001 (it ends this question, and no other)
            _fail(question, error)


def _fail(question: Question, error: Exception) -> None:
    if not question.result.done():
        question.result.set_exception(error)
