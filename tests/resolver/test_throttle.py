"""So many turns in one round of the event loop, in the order of asking."""

import asyncio

import pytest

from postfix_mta_sts.resolver.throttle import Throttle

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


async def rounds_of(number: int, throttle: Throttle) -> list[int]:
    """In which round of the loop each of so many callers has its turn."""
    begun: list[int] = []
    round_ = 0

    async def caller() -> None:
        await throttle.turn()
        begun.append(round_)

    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(caller())
        while len(begun) < number:
            await asyncio.sleep(0)
            round_ += 1
    return begun


async def test_a_few_do_not_wait() -> None:
    """Up to the number of turns all go on at once."""
    assert len(set(await rounds_of(3, Throttle(3)))) == 1


async def test_many_take_turns() -> None:
    """No more than so many in one round, and everybody comes."""
    throttle = Throttle(3)
    for _ in range(2):
        begun = await rounds_of(20, throttle)
        assert max(begun.count(round_) for round_ in begun) <= 3
        assert begun == sorted(begun)


async def test_whoever_gives_up_takes_no_turn() -> None:
    """A cancelled caller is passed over."""
    throttle = Throttle(1)
    tasks = [asyncio.create_task(throttle.turn()) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await tasks[2]
    assert [task.cancelled() for task in tasks] == [False, True, False]
