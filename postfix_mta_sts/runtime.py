"""Settings of CPython and of the C library for a process of the daemon.

`set_up` tunes the garbage collector and the thread switch interval; `release_free_memory` returns
freed memory to the system; `raise_files_limit` allows more open files; `background_task` runs a
task for the time of a context.
"""

import asyncio
import gc
import resource
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any, Final, TypeAlias

GC_THRESHOLDS: Final = (5_000, 10, 5)
"""With Python's defaults, (700, 10, 10), the collector took 6 % of a look-up of a new domain. With
(20,000, 50, 1,000) memory grew by 700 KiB a minute in a soak test: look-ups that hang are old by
the time they become garbage."""
SWITCH_INTERVAL: Final = 0.0002
"""Seconds after which a computing thread of the store yields (`sys.setswitchinterval`)."""

Trim: TypeAlias = Callable[[int], int]


def set_up() -> None:
    """Freeze what is already imported and set thresholds; call it after all imports."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL)


def release_free_memory() -> bool:
    """Return freed memory to the system, in 1 to 8 ms; return whether there was any.

    Failed TLS handshakes leave holes in glibc's heap that no later handshake fits: 200 at a time
    took 29 MB, and 61 MB after 2,400 of them, of which all but 14 MB were free.
    """
    trim = _malloc_trim()
    return trim is not None and trim(0) == 1


def raise_files_limit(limit: int) -> int:
    """Raise the limit of open files up to `limit`, as far as allowed; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = limit if hard == resource.RLIM_INFINITY else min(hard, limit)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files


@asynccontextmanager
async def background_task(
    work: Coroutine[Any, Any, None], name: str
) -> AsyncIterator[asyncio.Task[None]]:
    """Run a task inside the context, which is its value, and cancel it at the end."""
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@cache
def _malloc_trim() -> Trim | None:
    """malloc_trim(3), which only glibc has.

    A sandbox that forbids executable memory may make `import ctypes` fail.
    """
    with suppress(ImportError, OSError, MemoryError, AttributeError):
        import ctypes  # noqa: PLC0415 (the daemon does not need it)

        trim: Trim = ctypes.CDLL(None).malloc_trim
        return trim
    return None
