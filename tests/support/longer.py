"""Do something that has a time limit again with longer ones, until the machine is fast enough."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def with_longer_time(
    attempt: Callable[[float], Awaitable[T]], is_enough: Callable[[T], bool]
) -> T:
    """The first result that is enough, or else the one after the longest time, 20 s."""
    for seconds in (0.2, 2.0):
        result = await attempt(seconds)
        if is_enough(result):
            return result
    return await attempt(20.0)
