"""Slots: a limited number is held at a time, each for a limited time."""

import asyncio

import pytest

from postfix_mta_sts.network.slots import Slots

LONG = 3600.0


class Work:
    """Holds a slot from `started` until `end` is set."""

    def __init__(self, slots: Slots) -> None:
        self.started = asyncio.Event()
        self.end = asyncio.Event()
        self.task = asyncio.create_task(self._run(slots), name="work")

    async def _run(self, slots: Slots) -> None:
        with await slots.take():
            self.started.set()
            await self.end.wait()


async def test_limited_number() -> None:
    """With two slots the third task waits until one of the first two ends."""
    slots = Slots(2, LONG)
    first, second, third = (Work(slots) for _ in range(3))
    await first.started.wait()
    await second.started.wait()
    assert not third.started.is_set()
    first.end.set()
    await third.started.wait()
    second.end.set()
    third.end.set()
    await asyncio.gather(second.task, third.task)


async def test_limited_time() -> None:
    """When the hold time is over, the next task starts while the first continues."""
    slots = Slots(1, 0.0)
    first, second = Work(slots), Work(slots)
    await second.started.wait()
    assert not first.task.done()
    first.end.set()
    second.end.set()
    await asyncio.gather(first.task, second.task)


async def test_a_slot_is_freed_once() -> None:
    """A task that has lost its slot frees nothing at its end: there is still one slot."""
    slots = Slots(1, 0.0)
    first, second = Work(slots), Work(slots)
    await second.started.wait()
    first.end.set()
    second.end.set()
    await asyncio.gather(first.task, second.task)
    slots._hold_time = LONG
    third, fourth = Work(slots), Work(slots)
    await third.started.wait()
    await asyncio.sleep(0)
    assert not fourth.started.is_set()
    third.end.set()
    fourth.end.set()
    await fourth.task


@pytest.mark.parametrize("waiting", [True, False], ids=["waiting", "working"])
async def test_cancelled(waiting: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A task cancelled while waiting or working leaves the slot to the next."""
    slots = Slots(1, LONG)
    first, second, third = (Work(slots) for _ in range(3))
    await first.started.wait()
    (second if waiting else first).task.cancel()
    (first if waiting else second).end.set()
    third.end.set()
    await third.task
    done = await asyncio.gather(first.task, second.task, return_exceptions=True)
    assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in done) == 1
