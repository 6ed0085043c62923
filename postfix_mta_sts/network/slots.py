"""Limit the number of parallel tasks, without letting slow ones block the others.

A slot is counted and timed here; what the holder does with it is up to the caller.
"""

import asyncio
from types import TracebackType
from typing import Final


class Slots:
    """At most `count` slots are held at a time, each for `hold_time` seconds at most.

    A task that takes longer continues without a slot. Otherwise `count` hosts that never answer
    would block all others.
    """

    def __init__(self, count: int, hold_time: float) -> None:
        self._semaphore: Final = asyncio.Semaphore(count)
        self._hold_time = hold_time

    @property
    def has_free(self) -> bool:
        """Whether `take` gets a slot at once."""
        return not self._semaphore.locked()

    async def take(self) -> "Slot":
        """Wait for a slot; use it as a context manager."""
        await self._semaphore.acquire()
        return Slot(self._semaphore, self._hold_time)


class Slot:
    """Held until the end of its `with` block, but not longer than `hold_time` seconds."""

    __slots__ = ("_semaphore", "_timer")

    def __init__(self, semaphore: asyncio.Semaphore, hold_time: float) -> None:
        self._semaphore: asyncio.Semaphore | None = semaphore
        self._timer = asyncio.get_running_loop().call_later(hold_time, self._release)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._release()

    def _release(self) -> None:
        if self._semaphore:
            self._semaphore.release()
            self._semaphore = None
