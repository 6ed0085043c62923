"""A pipe in place of standard error, whose reader may stand still."""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

SIZE: Final = 4_096
"""Bytes that fit into the pipe: the smallest that Linux allows, so that it is full soon."""


class Pipe:
    """A pipe that nobody reads until a test does; made by `pipe`."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, SIZE)
        self.text = ""
        """What was read so far."""

    def fill(self) -> None:
        """Put bytes into the pipe until no more fit."""
        os.set_blocking(self.writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(self.writer, b"\n")  # more at once must fit as a whole
        os.set_blocking(self.writer, True)

    async def read_until(self, text: str) -> str:
        """Read until this text arrives; return all that was read so far."""
        os.set_blocking(self.reader, False)
        while text not in self.text:
            await self._readable()
            data = os.read(self.reader, 65_536)
            assert data, f"the pipe ended without {text}"
            self.text += data.decode()
        return self.text

    def read_rest(self) -> str:
        """Close the writing end, and read what is in the pipe; return all that was read."""
        self.close_writer()
        os.set_blocking(self.reader, True)
        while data := os.read(self.reader, 65_536):
            self.text += data.decode()
        return self.text

    def close_reader(self) -> None:
        """Close the reading end, so that writing fails."""
        with suppress(OSError):
            os.close(self.reader)

    def close_writer(self) -> None:
        """Close the writing end of this process; others may have theirs."""
        with suppress(OSError):
            os.close(self.writer)

    async def _readable(self) -> None:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.reader, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self.reader)


@contextmanager
def pipe() -> Iterator[Pipe]:
    """A pipe, closed at the end."""
    made = Pipe()
    try:
        yield made
    finally:
        made.close_writer()
        made.close_reader()
