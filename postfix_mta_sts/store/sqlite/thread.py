"""Calls that block on the disk, each in a thread that ends with the process.

A thread of `asyncio.to_thread` is waited for when the event loop closes: with a disk that hangs,
SIGTERM would never end the daemon.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

_T = TypeVar("_T")


async def call_in_thread(work: Callable[[], _T]) -> _T:
    """Call `work` in a thread of its own; return its result or raise its error.

    A cancelled call goes on in its thread, and nobody gets its result.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 (the top of a thread: the caller gets it)
            finish(partial(done.set_exception, error))
        else:
            finish(partial(done.set_result, result))

    def finish(set_outcome: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_unless_cancelled, done, set_outcome)

    threading.Thread(target=run, name="store file", daemon=True).start()
    return await done


def _unless_cancelled(done: asyncio.Future[_T], set_outcome: Callable[[], None]) -> None:
    if not done.done():
        set_outcome()
