"""Counts the calls of a test double, and waits for calls."""

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
        """The number of calls."""
        return self._counters.total()

    async def add(self, key: Key) -> None:
        """Count a call with `key`."""
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
    """Delays the answers of a test double while it is held."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        """Block from now on."""
        self._open.clear()

    def release(self) -> None:
        """Let all calls pass, including those that wait."""
        self._open.set()

    async def passed(self) -> None:
        """Return once the gate is open."""
        await self._open.wait()
