"""Show on a terminal what was found so far and what the command waits for; nothing in a pipe."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from typing import Any, Final, TextIO

INTERVAL: Final = 0.1
"""Seconds between two updates."""
_FRAMES: Final = "|/-\\"
_CLEAR: Final = "\r\x1b[K"
"""Go to the start of the line, and erase it (ECMA-48)."""


class Live:
    """A preview and a spinner on `stream`, if it is a terminal that can erase them."""

    def __init__(
        self, stream: TextIO, terminal: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`terminal` is the value of $TERM."""
        self._stream = stream
        self._spins = terminal not in {"", "dumb"} and stream.isatty()
        self._frames = cycle(_FRAMES)
        self._monotonic = monotonic
        self._start = monotonic()
        self._previewed = 0

    def clear(self) -> None:
        """Erase the preview and the spinner, before the caller prints."""
        if self._spins:
            self._write(self._erase())
        self._previewed = 0

    def spin(self, what: str) -> None:
        """Show that the command waits for something, and since when."""
        if self._spins:
            seconds = round(self._monotonic() - self._start)
            text = f"{next(self._frames)} waiting for {what} ({seconds} s)"
            width = shutil.get_terminal_size().columns - 1  # a full line may wrap
            self._write(_CLEAR + text[:width])

    def preview(self, lines: Sequence[str], what: str) -> None:
        """On a terminal, show the last of the lines, and the spinner below them, until `clear`."""
        if not self._spins:
            return
        size = shutil.get_terminal_size()
        shown = [line[: size.columns - 1] for line in lines[-max(1, size.lines - 2) :]]
        self._write(self._erase() + "".join(f"{line}\n" for line in shown))
        self._previewed = len(shown)
        self.spin(what)

    def _erase(self) -> str:
        """What erases the preview and the spinner (ECMA-48); the cursor is behind the spinner."""
        return f"\r\x1b[{self._previewed}A\x1b[J" if self._previewed else _CLEAR

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()


def live(stream: TextIO) -> Live:
    """Return a `Live` for this process."""
    return Live(stream, os.environ.get("TERM", ""))


async def run_with(work: Coroutine[Any, Any, None], update: Callable[[], None]) -> None:
    """Run `work`, and call `update` again and again until it ends; an error of either ends both.

    The command does not wait for name look-ups of the system that are still under way then.
    """
    import asyncio  # noqa: PLC0415 (`policy` needs no event loop)

    from postfix_mta_sts.admin.diagnosis.unjoined import do_not_join  # noqa: PLC0415 (the same)

    do_not_join()
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


@contextmanager
def progress(total: int, *, shown: bool = True) -> Iterator[Callable[[], None]]:
    """Yield a function to call once per domain; it moves a bar if stderr is a terminal."""
    if not total or not shown or not sys.stderr.isatty():
        yield lambda: None
        return
    from postfix_mta_sts.cli.terminal import progress_bar  # noqa: PLC0415 (rich: see there)

    with progress_bar(total, sys.stderr) as advance:
        yield advance
