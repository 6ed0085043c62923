"""Combine single questions that arrive together into batches.

The caller provides the function that answers a batch, and one that uses an answer. An error goes to
all that wait for the batch. Each read of the store has a fixed cost, for the thread and the
timeout, that is higher than the cost of a row; so has each round trip to a shared store.
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
"""Waiters, before cancelled ones are dropped: clients that ask and disconnect leave
them while batches take long."""


class Waiter(Protocol):
    """What waits for an answer."""

    @property
    def result(self) -> asyncio.Future[Any]:
        """Done if the answer is not wanted any more."""


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
W = TypeVar("W", bound=Waiter)

AskAll: TypeAlias = Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]
"""Answers every key of a batch."""


class Batcher(Generic[K, V, W]):
    """Keys asked for while batches are under way form the next batch.

    `use` gets each waiter with its answer. A batch has at most `size` keys; another one starts
    beside those under way, of which there are at most `concurrency`, for `enough` keys.
    """

    def __init__(
        self,
        ask_all: AskAll[K, V],
        use: Callable[[W, V], None],
        *,
        size: int = BATCH_LIMIT,
        concurrency: int = CONCURRENCY,
        enough: int = BATCH_LIMIT,
    ) -> None:
        self._ask_all = ask_all
        self._use = use
        self._size = size
        self._concurrency = concurrency
        self._enough = enough
        self._waiting: dict[K, list[W]] = {}
        self._number = 0  # of waiters in `_waiting`
        self._limit = WAITING_LIMIT
        self._tasks: set[asyncio.Task[None] | None] = set()

    def ask(self, key: K, waiter: W) -> None:
        """Answer a question about a key; cancel its result to stop waiting."""
        self._waiting.setdefault(key, []).append(waiter)
        self._number += 1
        if self._number > self._limit:
            self._drop_cancelled()
        if not self._tasks or self._needs_another_task():
            loop = asyncio.get_running_loop()
            self._tasks.add(loop.create_task(self._run(), name="batcher"))

    def _needs_another_task(self) -> bool:
        return len(self._tasks) < self._concurrency and len(self._waiting) >= self._enough

    def _drop_cancelled(self) -> None:
        """Drop cancelled waiters; the next time is when the number has doubled."""
        self._number = 0
        for key, waiting in list(self._waiting.items()):
            waiting[:] = [waiter for waiter in waiting if not waiter.result.done()]
            self._number += len(waiting)
            if not waiting:
                del self._waiting[key]
        self._limit = max(WAITING_LIMIT, 2 * self._number)

    async def _run(self) -> None:
        while self._waiting:
            keys = list(islice(self._waiting, self._size))
            batch = {key: self._waiting.pop(key) for key in keys}
            self._number -= sum(map(len, batch.values()))
            await self._ask(batch)
        self._tasks.discard(asyncio.current_task())  # before another key is asked for

    async def _ask(self, batch: Mapping[K, Sequence[W]]) -> None:
        try:
            answers = await self._ask_all(list(batch))
            answered = [(waiting, answers[key]) for key, waiting in batch.items()]
        except Exception as error:  # noqa: BLE001 (the top of a task: all that wait get the error)
            for waiter in chain.from_iterable(batch.values()):
                _fail(waiter, error)
            return
        for waiting, answer in answered:
            for waiter in waiting:
                self._answer(waiter, answer)

    def _answer(self, waiter: W, answer: V) -> None:
        if waiter.result.done():
            return
        try:
            self._use(waiter, answer)
        except Exception as error:  # noqa: BLE001 (it ends this one, and no other)
            _fail(waiter, error)


def _fail(waiter: Waiter, error: Exception) -> None:
    if not waiter.result.done():
        waiter.result.set_exception(error)
