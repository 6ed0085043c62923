"""So many turns in one round of the event loop: what is quick comes between them.

Border: it counts and waits; whose turn it is and for what, it knows nothing of.
"""

import asyncio
from collections import deque


class Throttle:
    """Lets `turns` callers go on in each round of the loop, the others in the rounds after it.

    Without it, hundreds that become ready at once go on in one round, and whoever asks for
    something meanwhile waits for all of them.
    """

    def __init__(self, turns: int) -> None:
        self._turns = turns
        self._left = turns
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Wait for a turn; first come, first served."""
        loop = asyncio.get_running_loop()
        if self._left == self._turns:
            loop.call_soon(self._next_round)
        if self._left:
            self._left -= 1
            return
        mine = loop.create_future()
        self._waiting.append(mine)
        await mine

    def _next_round(self) -> None:
        self._left = self._turns
        while self._waiting and self._left:
            first = self._waiting.popleft()
            if not first.done():  # cancelled
                first.set_result(None)
                self._left -= 1
        if self._left < self._turns:
            asyncio.get_running_loop().call_soon(self._next_round)
