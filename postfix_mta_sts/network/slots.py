"""So many at a time, but the slow ones do not hold up the others.

Border: it counts and waits; of what is done in a slot it knows nothing.
"""

import asyncio
from types import TracebackType
from typing import Final


class Slots:
    """At most `count` at a time; what takes longer than `patience` seconds counts no more.

    Were it not so, `count` hosts that never answer would stop everybody.
    """

    def __init__(self, count: int, patience: float) -> None:
        self._free: Final = asyncio.Semaphore(count)
        self._patience = patience

    async def take(self) -> "Slot":
        """Wait for a slot; whoever has it leaves it, at the latest when patience is over."""
        await self._free.acquire()
        return Slot(self._free, self._patience)


class Slot:
    """Held from the beginning to the end of a `with`, or for so long as there is patience."""

    __slots__ = ("_free", "_timer")

    def __init__(self, free: asyncio.Semaphore, patience: float) -> None:
        self._free: asyncio.Semaphore | None = free
        self._timer = asyncio.get_running_loop().call_later(patience, self._give_back)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._give_back()

    def _give_back(self) -> None:
        if self._free:
            self._free.release()
            self._free = None
