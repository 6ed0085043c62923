"""Combine single questions that arrive together into batches.

The caller provides the function that answers a batch; its error goes to all callers that wait. Each
read of the store has a fixed cost, for the thread and the timeout, that is higher than the cost of
a row.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Final, Generic, TypeAlias, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

BATCH_LIMIT: Final = 24
"""Keys in a batch, so that the first does not wait long for the last, nor a late key for all."""
CONCURRENCY: Final = 2
"""Batches under way at once: one is read while the answers of the other are used."""
WAITING_LIMIT: Final = 10_000
"""Answers that wait, before cancelled ones are dropped: clients that ask and disconnect leave them
while batches take long."""

AskAll: TypeAlias = Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]
"""Answers every key of a batch."""


class Batcher(Generic[K, V]):
    """Keys asked for while batches are under way form the next batch."""

    def __init__(self, ask_all: AskAll[K, V]) -> None:
        self._ask_all = ask_all
        self._waiting: dict[K, list[asyncio.Future[V]]] = {}
        self._number = 0  # of answers in `_waiting`
        self._limit = WAITING_LIMIT
        self._tasks: set[asyncio.Task[None] | None] = set()

    def ask(self, key: K) -> asyncio.Future[V]:
        """The answer for a key; cancel the future to stop waiting."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[V] = loop.create_future()
        self._waiting.setdefault(key, []).append(answer)
        self._number += 1
        if self._number > self._limit:
            self._drop_cancelled()
        if not self._tasks or self._needs_another_task():
            self._tasks.add(loop.create_task(self._run(), name="batcher"))
        return answer

    def _needs_another_task(self) -> bool:
        return len(self._tasks) < CONCURRENCY and len(self._waiting) >= BATCH_LIMIT

    def _drop_cancelled(self) -> None:
        """Drop cancelled answers; the next time is when the number has doubled."""
        self._number = 0
        for key, waiting in list(self._waiting.items()):
            waiting[:] = [answer for answer in waiting if not answer.done()]
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

    async def _ask(self, batch: Mapping[K, Sequence[asyncio.Future[V]]]) -> None:
        try:
            answers = await self._ask_all(list(batch))
            answered = [(waiting, answers[key]) for key, waiting in batch.items()]
        except Exception as error:  # noqa: BLE001 (the top of a task: all that wait get the error)
            _fail(chain.from_iterable(batch.values()), error)
            return
        for waiting, answer in answered:
            _set_result(waiting, answer)


def _set_result(waiting: Iterable[asyncio.Future[V]], answer: V) -> None:
    for future in waiting:
        if not future.done():  # cancelled by its caller
            future.set_result(answer)


def _fail(waiting: Iterable[asyncio.Future[V]], error: Exception) -> None:
    for future in waiting:
        if not future.done():
            future.set_exception(error)
