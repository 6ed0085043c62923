"""Run a function that blocks in a thread for which the end of the program does not wait.

`asyncio.to_thread` has `asyncio.run` wait for its threads also after Ctrl-C, so that a server that
does not answer would hold the terminal until the time for its answer is over.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

_T = TypeVar("_T")


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
