"""Slots: so many at a time, and what takes long stands aside."""

import asyncio

import pytest

from postfix_mta_sts.network.slots import Slots

PATIENT = 3600.0


class Work:
    """Holds a slot from `begun` until `end` is set."""

    def __init__(self, slots: Slots) -> None:
        self.begun = asyncio.Event()
        self.end = asyncio.Event()
        self.task = asyncio.create_task(self._run(slots), name="work")

    async def _run(self, slots: Slots) -> None:
        with await slots.take():
            self.begun.set()
            await self.end.wait()


async def test_so_many_at_a_time() -> None:
    """The third of two waits until one is over."""
    slots = Slots(2, PATIENT)
    first, second, third = (Work(slots) for _ in range(3))
    await first.begun.wait()
    await second.begun.wait()
    assert not third.begun.is_set()
    first.end.set()
    await third.begun.wait()
    second.end.set()
    third.end.set()
    await asyncio.gather(second.task, third.task)


async def test_what_takes_long_stands_aside() -> None:
    """Without patience the next begins although the first goes on."""
    slots = Slots(1, 0.0)
    first, second = Work(slots), Work(slots)
    await second.begun.wait()
    assert not first.task.done()
    first.end.set()
    second.end.set()
    await asyncio.gather(first.task, second.task)


async def test_a_slot_is_given_back_once() -> None:
    """Who stood aside gives nothing back in the end: there is still one slot and no more."""
    slots = Slots(1, 0.0)
    first, second = Work(slots), Work(slots)
    await second.begun.wait()
    first.end.set()
    second.end.set()
    await asyncio.gather(first.task, second.task)
    slots._patience = PATIENT
    third, fourth = Work(slots), Work(slots)
    await third.begun.wait()
    await asyncio.sleep(0)
    assert not fourth.begun.is_set()
    third.end.set()
    fourth.end.set()
    await fourth.task


@pytest.mark.parametrize("waiting", [True, False], ids=["waiting", "working"])
async def test_cancelled(waiting: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Who is cancelled, waiting or working, leaves the slot to the next."""
    slots = Slots(1, PATIENT)
    first, second, third = (Work(slots) for _ in range(3))
    await first.begun.wait()
    (second if waiting else first).task.cancel()
    (first if waiting else second).end.set()
    third.end.set()
    await third.task
    done = await asyncio.gather(first.task, second.task, return_exceptions=True)
    assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in done) == 1
