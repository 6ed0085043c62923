"""At most N tasks resume per event-loop iteration, in the order of their calls."""

import asyncio

import pytest

from postfix_mta_sts.resolver.throttle import Throttle

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


async def iterations_of(number: int, throttle: Throttle) -> list[int]:
    """For each of `number` callers, the event-loop iteration in which it resumes."""
    resumed: list[int] = []
    iteration = 0

    async def caller() -> None:
        await throttle.turn()
        resumed.append(iteration)

    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(caller())
        while len(resumed) < number:
            await asyncio.sleep(0)
            iteration += 1
    return resumed


async def test_a_few_tasks_do_not_wait() -> None:
    """Up to the limit all tasks resume in the same iteration."""
    assert len(set(await iterations_of(3, Throttle(3)))) == 1


async def test_many_tasks_take_turns() -> None:
    """At most `limit` tasks resume per iteration, and all do in the end."""
    throttle = Throttle(3)
    for _ in range(2):
        resumed = await iterations_of(20, throttle)
        assert max(resumed.count(iteration) for iteration in resumed) <= 3
        assert resumed == sorted(resumed)


async def test_a_cancelled_task_takes_no_turn() -> None:
    """The task after it resumes instead."""
    throttle = Throttle(1)
    tasks = [asyncio.create_task(throttle.turn()) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await tasks[2]
    assert [task.cancelled() for task in tasks] == [False, True, False]
