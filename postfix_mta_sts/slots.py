"""So many at a time, but the slow ones do not hold up the others.

Border: it counts and waits; of what is done in a slot it knows nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Slots:
    """At most `count` at a time; what takes longer than `patience` seconds counts no more.

    Were it not so, `count` hosts that never answer would stop everybody.
    """

    def __init__(self, count: int, patience: float) -> None:
        self._free = asyncio.Semaphore(count)
        self._patience = patience

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait for a slot, and hold it until the end or until patience is over."""
        await self._free.acquire()
        held = [self._free]

        def give_back() -> None:
            if held:
                held.pop().release()

        timer = asyncio.get_running_loop().call_later(self._patience, give_back)
        try:
            yield
        finally:
            timer.cancel()
            give_back()
