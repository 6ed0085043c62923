"""Run functions that block in threads for which the end of the program does not wait.

`asyncio.to_thread` and `loop.getaddrinfo` have `asyncio.run`, and the end of the interpreter, wait
for their threads also after Ctrl-C, so that a server that does not answer would hold the terminal
until the time for its answer is over.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Thread
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


def do_not_join() -> None:
    """Let nothing wait for the threads that libraries start in the event loop that runs now.

    Name look-ups of `loop.getaddrinfo` are such threads: glibc may wait for a server for minutes.
    """
    asyncio.get_running_loop().set_default_executor(UnjoinedExecutor())


async def in_thread(function: Callable[[], _T]) -> _T:
    """Return what the function returns, or raise what it raises; after a cancel it runs on."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def finish(outcome: Callable[[], None]) -> None:
        if not done.done():
            outcome()

    def work() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 (the top of the thread; raised where it is awaited)
            reason = error
            outcome = lambda: done.set_exception(reason)  # noqa: E731
        else:
            outcome = lambda: done.set_result(result)  # noqa: E731
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, outcome)

    Thread(target=work, daemon=True).start()
    return await done


class UnjoinedExecutor(ThreadPoolExecutor):
    """Runs each function in a daemon thread of its own; its end waits for none of them.

    It is a `ThreadPoolExecutor` because an event loop takes no other one, and has none of its
    threads.
    """

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Start the function; `concurrent.futures.Executor.submit`."""
        future = Future[_T]()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 (the top of the thread; raised where it is awaited)
                future.set_exception(error)
            else:
                future.set_result(result)

        Thread(target=work, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 (of the base class)
        """Wait for nothing; `concurrent.futures.Executor.shutdown`."""
