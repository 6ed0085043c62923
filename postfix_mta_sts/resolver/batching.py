"""Many who ask for one thing each → questions for many of them at once.

Border: how something is asked for is handed in; a fault of it is told to those who wait. What costs
is the way to the file and its thread, and a deadline for each; the rows cost little.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import Final, Generic, TypeAlias, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

AT_ONCE: Final = 24
"""Things of one question at most, so that the first does not wait long for the last, and who
comes meanwhile is not behind all of them."""
UNDER_WAY: Final = 2
"""Questions at a time: one is answered while what was answered before is made use of."""

AskAll: TypeAlias = Callable[[Sequence[K]], Awaitable[Mapping[K, V | asyncio.Future[V]]]]
"""Says something of everything that it is asked for: what there is, or will be."""


class Batcher(Generic[K, V]):
    """Who asks while questions are under way is part of the next."""

    def __init__(self, ask_all: AskAll[K, V]) -> None:
        self._ask_all = ask_all
        self._wanted: dict[K, list[asyncio.Future[V]]] = {}
        self._asking: set[asyncio.Task[None] | None] = set()

    def ask(self, thing: K) -> asyncio.Future[V]:
        """What there is of it, once it is known; whoever does not wait any more cancels it."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[V] = loop.create_future()
        self._wanted.setdefault(thing, []).append(answer)
        if not self._asking or self._is_time_for_another():
            self._asking.add(loop.create_task(self._ask(), name="batches"))
        return answer

    def _is_time_for_another(self) -> bool:
        return len(self._asking) < UNDER_WAY and len(self._wanted) >= AT_ONCE

    async def _ask(self) -> None:
        while self._wanted:
            batch = {t: self._wanted.pop(t) for t in list(islice(self._wanted, AT_ONCE))}
            try:
                answers = await self._ask_all(list(batch))
                told = [(asking, answers[thing]) for thing, asking in batch.items()]
            except Exception as error:  # noqa: BLE001 (the top of a task: those who wait are told)
                _fail(chain.from_iterable(batch.values()), error)
                continue
            for asking, answer in told:
                if isinstance(answer, asyncio.Future):
                    answer.add_done_callback(partial(_hand_on, asking))
                else:
                    _tell(asking, answer)
        self._asking.discard(asyncio.current_task())  # before anybody asks again


def _hand_on(asking: Iterable[asyncio.Future[V]], answer: asyncio.Future[V]) -> None:
    _tell(asking, answer.result())


def _tell(asking: Iterable[asyncio.Future[V]], answer: V) -> None:
    for asked in asking:
        if not asked.done():  # whoever waited may have given up
            asked.set_result(answer)


def _fail(asking: Iterable[asyncio.Future[V]], error: Exception) -> None:
    for asked in asking:
        if not asked.done():
            asked.set_exception(error)
