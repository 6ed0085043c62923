"""Resume at most N tasks per event-loop iteration, first come, first served."""

import asyncio
from collections import deque


class Throttle:
    """Lets `limit` callers of `turn` pass per iteration, the others in later iterations.

    Without it, hundreds of tasks that become ready together all resume in one iteration, and a
    request that arrives meanwhile waits for all of them.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Wait until this task may resume."""
        loop = asyncio.get_running_loop()
        if self._left == self._limit:
            loop.call_soon(self._next_iteration)
        if self._left:
            self._left -= 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next_iteration(self) -> None:
        self._left = self._limit
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():  # cancelled
                turn.set_result(None)
                self._left -= 1
        if self._left < self._limit:
            asyncio.get_running_loop().call_soon(self._next_iteration)
