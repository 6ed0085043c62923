"""What a double was asked, how often, and a way to wait for the next time."""

import asyncio
from collections import Counter
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Tally(Generic[Key]):
    """Counts of keys: `tally[key]`, `tally.total`, `await tally.reached(key, times)`."""

    def __init__(self) -> None:
        self._counters: Counter[Key] = Counter()
        self._changed = asyncio.Condition()

    def __getitem__(self, key: Key) -> int:
        return self._counters[key]

    @property
    def total(self) -> int:
        """How often anything was asked."""
        return self._counters.total()

    async def add(self, key: Key) -> None:
        """One more of `key`."""
        self._counters[key] += 1
        async with self._changed:
            self._changed.notify_all()

    async def reached(self, key: Key, times: int = 1) -> None:
        """Return as soon as `key` was counted `times` times."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._counters[key] >= times)

    async def total_reached(self, times: int = 1) -> None:
        """Return as soon as all keys together were counted `times` times."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.total >= times)


class Gate:
    """Open unless held: what a double awaits before it answers."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        """From now on nothing passes."""
        self._open.clear()

    def release(self) -> None:
        """Let everything pass, also what waits already."""
        self._open.set()

    async def passed(self) -> None:
        """Return once the gate is open."""
        await self._open.wait()
