"""A second event loop, in a thread of its own, for work that must not hold up the first.

Border: it runs coroutines and hands over what comes of them; what they do is no matter of its.
While one thread computes, the other gets its turn within `TURN`; while OpenSSL computes for the
one, the other runs.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import Any, Final, Self, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TURN: Final = 0.0005
"""Seconds after which a thread that computes gives way (`sys.setswitchinterval`)."""


class Beside:
    """The second loop, of the same kind as the running one, while this is entered."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self._thread: threading.Thread

    async def __aenter__(self) -> Self:
        sys.setswitchinterval(TURN)
        here = asyncio.get_running_loop()
        begun: asyncio.Future[None] = here.create_future()

        async def live() -> None:
            self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
            here.call_soon_threadsafe(begun.set_result, None)
            await self._end.wait()

        def run() -> None:
            with asyncio.Runner(loop_factory=type(here)) as runner:
                runner.run(live())  # whose end cancels what is still under way

        self._thread = threading.Thread(target=run, name="beside", daemon=True)
        self._thread.start()
        await begun
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        await asyncio.to_thread(self._thread.join)

    async def call(self, function: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts) -> T:
        """What a coroutine function gives, or raises, on the second loop.

        Cancelled, it cancels the coroutine there, and does not wait for its end.
        """
        here = asyncio.get_running_loop()
        done: asyncio.Future[T] = here.create_future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self._loop.create_task(function(*args))
            task.add_done_callback(lambda task: here.call_soon_threadsafe(_hand_over, task, done))
            tasks.append(task)

        self._loop.call_soon_threadsafe(begin)
        try:
            return await done
        except asyncio.CancelledError:
            with suppress(RuntimeError):  # the second loop is closed, and nothing runs there
                self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
            raise

    async def enter(self, stack: AsyncExitStack, context: AbstractAsyncContextManager[T]) -> T:
        """Enter a context on the second loop, and let `stack` leave it there."""
        entered = await self.call(_entering, context)
        stack.push_async_callback(self.call, _leaving, context)
        return entered


async def _entering(context: AbstractAsyncContextManager[T]) -> T:
    return await context.__aenter__()


async def _leaving(context: AbstractAsyncContextManager[Any]) -> None:
    await context.__aexit__(None, None, None)


def _hand_over(task: asyncio.Task[T], done: asyncio.Future[T]) -> None:
    error = None if task.cancelled() else task.exception()
    if done.done():
        return  # whoever called was cancelled
    if task.cancelled():
        done.cancel()
    elif error:
        done.set_exception(error)
    else:
        done.set_result(task.result())
