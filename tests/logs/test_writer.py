"""The thread that writes the log, and its queue."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from postfix_mta_sts.logs.writer import LINE_COST, QUEUE_LIMIT, RESERVED, Writer
from tests.support.pipes import SIZE, Pipe, pipe

TIMEOUT = 60.0
LINE = b"x" * 99 + b"\n"


class Output:
    """In place of os.write: what was written, and errors to raise instead."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.errors: list[OSError | int] = []
        """What the next calls do: raise, or write only this number of bytes."""
        self.released = threading.Event()
        """Calls wait for this."""
        self.released.set()

    def __call__(self, _: int, data: bytes) -> int:
        """Take the bytes, as os.write does."""
        self.released.wait(TIMEOUT)
        case = self.errors.pop(0) if self.errors else len(data)
        if isinstance(case, OSError):
            raise case
        self.writes.append(bytes(data[:case]))
        return case

    @property
    def text(self) -> bytes:
        """All that was written."""
        return b"".join(self.writes)


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Output:
    """Replace os.write for the writer."""
    made = Output()
    functions = SimpleNamespace(write=made, dup=os.dup, close=os.close)
    monkeypatch.setattr("postfix_mta_sts.logs.writer.os", functions)
    return made


Make = Callable[..., Writer]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make writers, to nowhere unless told otherwise; their threads end with the test."""
    with ExitStack() as stack, open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device

        def make(
            descriptor: int = nowhere.fileno(), tell: Callable[[bool], None] = lambda _: None
        ) -> Writer:
            made = Writer(descriptor, tell)
            stack.callback(made._thread.join, TIMEOUT)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def unread() -> Iterator[Pipe]:
    """A pipe that nobody reads."""
    with pipe() as made:
        yield made


def fill(made: Writer, *, important: bool = False) -> int:
    """Put lines until there is no room; return how many had room."""
    count = 0
    while made.has_room(important=important):
        made.put(LINE)
        count += 1
    return count


class TestQueue:
    """Lines that wait."""

    def test_lines_are_written_in_order_and_together(self, make: Make, output: Output) -> None:
        """Lines that gather are written with few calls, each of whole lines and at most 4 KiB."""
        made = make()
        output.released.clear()
        lines = [f"line {number:04}\n".encode() for number in range(2_000)]
        for line in lines:
            made.put(line)
        output.released.set()
        assert made.flush(TIMEOUT)
        assert output.text == b"".join(lines)
        assert all(len(each) <= SIZE and each.endswith(b"\n") for each in output.writes)
        assert len(output.writes) < len(lines) / 100

    def test_a_full_queue(self, make: Make, unread: Pipe) -> None:
        """Lines without room are counted, and what waits stays below the limit."""
        unread.fill()
        made = make(unread.writer)
        taken = fill(made)
        assert (taken + 1) * (len(LINE) + LINE_COST) >= QUEUE_LIMIT - RESERVED
        assert taken * (len(LINE) + LINE_COST) < QUEUE_LIMIT
        assert made.lost == 1
        assert not made.flush(0.01)

    def test_important_lines_have_room_of_their_own(self, make: Make, unread: Pipe) -> None:
        """When ordinary lines find no room, warnings still do, up to the limit."""
        unread.fill()
        made = make(unread.writer)
        ordinary, important = fill(made), fill(made, important=True)
        assert important > 1_000
        assert (ordinary + important) * (len(LINE) + LINE_COST) <= QUEUE_LIMIT + LINE_COST + len(
            LINE
        )

    async def test_room_again(self, make: Make, unread: Pipe) -> None:
        """Once half of the queue is written, lines are taken again, and it can be told."""
        told = threading.Event()
        unread.fill()
        made = make(unread.writer, lambda _: told.set())
        taken = fill(made)
        assert not told.is_set()
        made.put(b"end\n")
        text = await unread.read_until("end\n")
        assert text.lstrip("\n").count("\n") == taken + 1
        assert told.wait(TIMEOUT)
        assert made.has_room(important=False)


class TestErrors:
    """Writing fails."""

    def test_a_full_disk(self, make: Make, output: Output) -> None:
        """Lines that cannot be written are counted; the next ones are written."""
        made = make()
        output.errors = [OSError(28, "No space left on device")]
        made.put(LINE)
        assert made.flush(TIMEOUT)
        assert (output.text, made.lost) == (b"", 1)
        made.put(b"next\n")
        assert made.flush(TIMEOUT)
        assert (output.text, made.lost) == (b"next\n", 1)

    def test_a_torn_line(self, make: Make, output: Output) -> None:
        """A line of which only the begin could be written does not swallow the next."""
        made = make()
        output.errors = [3, OSError(28, "No space left on device")]
        made.put(LINE)
        assert made.flush(TIMEOUT)
        for line in (b"one\n", b"two\n"):
            made.put(line)
            assert made.flush(TIMEOUT)
        assert output.text == b"xxx\none\ntwo\n"

    def test_a_part_is_written(self, make: Make, output: Output) -> None:
        """The rest of a line follows."""
        made = make()
        output.errors = [3, 5]
        made.put(LINE)
        assert made.flush(TIMEOUT)
        assert (output.text, made.lost) == (LINE, 0)

    async def test_a_non_blocking_pipe(self, make: Make, unread: Pipe) -> None:
        """The thread waits until the pipe has room."""
        unread.fill()
        os.set_blocking(unread.writer, False)
        made = make(unread.writer)
        for number in range(200):
            made.put(f"line {number}\n".encode())
        text = await unread.read_until("line 199\n")
        assert text.split() == [word for n in range(200) for word in ("line", str(n))]
        assert made.lost == 0

    def test_nothing_is_told_while_writing_fails(self, make: Make, output: Output) -> None:
        """A closed pipe would take as many notices as there are lines."""
        told: list[bool] = []
        made = make(tell=told.append)
        output.errors = [OSError(32, "Broken pipe")]
        made.put(LINE)
        assert made.flush(TIMEOUT)
        assert told == []
        made.put(LINE)
        assert made.flush(TIMEOUT)
        assert True in told


def test_the_thread_ends() -> None:
    """After `close` the thread writes what waits, and ends."""
    with pipe() as made_pipe:
        made = Writer(made_pipe.writer, lambda _: None)
        made.put(LINE)
        made.close()
        made._thread.join(TIMEOUT)
        assert not made._thread.is_alive()
        assert made_pipe.read_rest() == LINE.decode()
