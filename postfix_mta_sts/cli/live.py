"""Print lines as they become known, and on a terminal show what the command waits for."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from itertools import cycle
from typing import Any, Final, TextIO

INTERVAL: Final = 0.1
"""Seconds between two updates."""
_FRAMES: Final = "|/-\\"
_CLEAR: Final = "\r\x1b[K"
"""Go to the start of the line, and erase it (ECMA-48)."""


class Live:
    """Prints each line once, to `stream`; below them a spinner if it is a terminal."""

    def __init__(
        self, stream: TextIO, terminal: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`terminal` is the value of $TERM."""
        self._stream = stream
        self._spins = terminal not in {"", "dumb"} and stream.isatty()
        self._frames = cycle(_FRAMES)
        self._monotonic = monotonic
        self._start = monotonic()
        self._printed: Counter[str] = Counter()

    def clear(self) -> None:
        """Erase the spinner, before the caller prints."""
        self.show(())

    def show(self, lines: Iterable[str]) -> None:
        """Print those of the lines that were not printed yet, and erase the spinner."""
        known = self._printed.copy()
        text = _CLEAR if self._spins else ""
        for line in lines:
            if known[line]:
                known[line] -= 1
            else:
                self._printed[line] += 1
                text += f"{line}\n"
        self._write(text)

    def spin(self, what: str) -> None:
        """Show that the command waits for something, and since when; nothing in a pipe."""
        if self._spins:
            seconds = round(self._monotonic() - self._start)
            text = f"{next(self._frames)} waiting for {what} ({seconds} s)"
            width = shutil.get_terminal_size().columns - 1  # a full line may wrap
            self._write(_CLEAR + text[:width])

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()


def live(stream: TextIO) -> Live:
    """Return a `Live` for this process."""
    return Live(stream, os.environ.get("TERM", ""))


async def run_with(work: Coroutine[Any, Any, None], update: Callable[[], None]) -> None:
    """Run `work`, and call `update` again and again until it ends; an error of either ends both."""
    import asyncio  # noqa: PLC0415 (`policy` needs no event loop)

    task = asyncio.create_task(work, name="command")
    try:
        while not task.done():
            update()
            await asyncio.wait([task], timeout=INTERVAL)
        await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
