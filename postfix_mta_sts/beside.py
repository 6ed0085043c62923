"""A second event loop, in a thread of its own, for work that must not hold up the first.

Border: it runs coroutines and hands over what comes of them; what they do is no matter of its.
While one thread computes, the other gets its turn within `TURN`; while OpenSSL computes for the
one, the other runs. Where there are fewer processors than work, the first thread comes first.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from functools import partial
from typing import Any, Final, Self, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TURN: Final = 0.0002
"""Seconds after which a thread that computes gives way (`sys.setswitchinterval`)."""

NICENESS: Final = 5
"""How much the second thread gives way, to the first as to all others (nice(2))."""


class Beside:
    """The second loop, of the same kind as the running one, while this is entered."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self._thread: threading.Thread
        self._there: _Crossing
        self._back: _Crossing

    async def __aenter__(self) -> Self:
        sys.setswitchinterval(TURN)
        here = asyncio.get_running_loop()
        begun: asyncio.Future[None] = here.create_future()

        async def live() -> None:
            self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
            here.call_soon_threadsafe(begun.set_result, None)
            await self._end.wait()

        def run() -> None:
            with suppress(PermissionError):  # a sandbox may forbid it; it is not worth the service
                os.nice(NICENESS)  # of this thread alone, where there is epoll
            with asyncio.Runner(loop_factory=type(here)) as runner:
                runner.run(live())  # whose end cancels what is still under way

        self._thread = threading.Thread(target=run, name="beside", daemon=True)
        self._thread.start()
        await begun
        self._there = _Crossing(here, self._loop)
        self._back = _Crossing(self._loop, here)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        await asyncio.to_thread(self._thread.join)

    async def call(self, function: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts) -> T:
        """What a coroutine function gives, or raises, on the second loop.

        Cancelled, it cancels the coroutine there, and does not wait for its end. Raises
        `RuntimeError` where the second loop has ended.
        """
        if self._loop.is_closed():
            raise RuntimeError("the second loop has ended")
        here = asyncio.get_running_loop()
        done: asyncio.Future[T] = here.create_future()
        tasks: list[asyncio.Task[T]] = []

        self._there.send(self._start, partial(_awaited, function, *args), done, tasks)
        try:
            return await done
        except asyncio.CancelledError:
            self._there.send(_cancel, tasks)
            raise
        finally:
            # An error's traceback has this frame: held by it, the error would be held by itself,
            # and what only the collector finds is megabytes between two of its rounds.
            del done, tasks

    def _start(
        self,
        begin: Callable[[], Coroutine[Any, Any, T]],
        done: asyncio.Future[T],
        tasks: list[asyncio.Task[T]],
    ) -> None:
        task = self._loop.create_task(begin())
        task.add_done_callback(lambda task: self._back.send(_hand_over, task, done))
        tasks.append(task)

    async def enter(self, stack: AsyncExitStack, context: AbstractAsyncContextManager[T]) -> T:
        """Enter a context on the second loop, and let `stack` leave it there."""
        entered = await self.call(_entering, context)
        stack.push_async_callback(self.call, _leaving, context)
        return entered


class _Crossing:
    """Calls from one loop to another; those of one round cross together, and wake it once."""

    def __init__(self, here: asyncio.AbstractEventLoop, there: asyncio.AbstractEventLoop) -> None:
        self._here = here
        self._there = there
        self._calls: list[Callable[[], object]] = []

    def send(self, function: Callable[[*Ts], object], *args: *Ts) -> None:
        """Have something called over there; from here only, and in the order of sending."""
        if not self._calls:
            self._here.call_soon(self._cross)
        self._calls.append(partial(function, *args))

    def _cross(self) -> None:
        calls, self._calls = self._calls, []
        with suppress(RuntimeError):  # that loop is closed, and nothing runs there any more
            self._there.call_soon_threadsafe(_begin, self._there, calls)


def _begin(loop: asyncio.AbstractEventLoop, calls: Sequence[Callable[[], object]]) -> None:
    for call in calls:
        loop.call_soon(call)  # what one of them raises is not the others' trouble


async def _awaited(function: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts) -> T:
    return await function(*args)


async def _entering(context: AbstractAsyncContextManager[T]) -> T:
    return await context.__aenter__()


async def _leaving(context: AbstractAsyncContextManager[Any]) -> None:
    await context.__aexit__(None, None, None)


def _cancel(tasks: Sequence[asyncio.Task[T]]) -> None:
    for task in tasks:
        task.cancel()


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
