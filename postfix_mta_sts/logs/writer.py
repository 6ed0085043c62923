"""Write lines to a file descriptor in a thread of its own.

The reader of the log may stop reading, the disk may be full, the pipe may be closed: the thread
waits or goes on without, and nobody else notices. What does not fit into the queue is counted.
"""

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

QUEUE_LIMIT: Final = 1024 * 1024
"""Bytes of the lines that wait, with `LINE_COST` for each."""
LINE_COST: Final = 64
"""What Python needs for a line beside its bytes; it bounds the number of lines."""
RESERVED: Final = QUEUE_LIMIT // 4
"""Room that only important lines may use."""
BATCH_LIMIT: Final = 4_096
"""Bytes of one write(2). Up to PIPE_BUF, another process cannot write in between (pipe(7))."""
GATHER: Final = 0.02
"""Seconds in which lines gather after others were written. Each wake-up of the thread takes the GIL
from the event loop."""
TELL_INTERVAL: Final = 10.0
"""Seconds after which the thread calls `tell` even if nothing was put."""


class Writer:
    """A thread that writes lines to `descriptor`, and the queue before it.

    `has_room` and `put` never wait; their callers take turns, as a logging handler lets them.
    `tell` is called in the thread while there is room; it may use `write`. Its argument is true
    at a `flush`.
    """

    def __init__(self, descriptor: int, tell: Callable[[bool], None]) -> None:
        # Its own: the number may belong to another file later, while the thread is still stuck.
        self._descriptor = os.dup(descriptor)
        self._tell = tell
        self._queue: deque[bytes | threading.Event] = deque()
        self._ready = threading.Event()
        self._hurry = threading.Event()
        self._closed = False
        self._full = False
        self._works = True
        self._torn = False
        # Each number is changed by one thread only, so none needs a lock.
        self._put_bytes = 0
        self._dropped = 0
        self._taken_bytes = 0
        self._failed = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Lines that found no room, or could not be written."""
        return self._dropped + self._failed

    def has_room(self, *, important: bool) -> bool:
        """Whether a line may be put; counts it as lost if not.

        Once the queue was full, ordinary lines wait until half of it is free: else the log would
        alternate between one line and the number of those that are lost.
        """
        waiting = self._put_bytes - self._taken_bytes
        self._full = self._full and waiting > QUEUE_LIMIT // 2
        room = QUEUE_LIMIT if important else QUEUE_LIMIT - RESERVED
        if waiting >= room or (self._full and not important):
            self._full = True
            self._dropped += 1
            return False
        return True

    def put(self, line: bytes) -> None:
        """Let the thread write a line, which includes its end; ask `has_room` before."""
        self._put_bytes += len(line) + LINE_COST
        self._queue.append(line)
        if not self._ready.is_set():
            self._ready.set()

    def flush(self, timeout: float) -> bool:
        """Wait until all lines are written, at most `timeout` seconds; return whether they are."""
        done = threading.Event()
        self._queue.append(done)
        self._hurry.set()
        self._ready.set()
        return done.wait(timeout)

    def close(self) -> None:
        """End the thread once it has written what waits, without waiting for it."""
        self._closed = True
        self._hurry.set()
        self._ready.set()

    def write(self, data: bytes) -> bool:
        """Write at once; return whether that worked. For the thread alone."""
        try:
            # A line of which only a part could be written must not swallow the next one.
            self._write_all(b"\n" + data if self._torn else data)
        except OSError:  # a full disk, a closed pipe: the next line may fare better
            self._works = False
        else:
            self._works = True
        return self._works

    def _run(self) -> None:
        while not self._closed or self._queue:
            self._ready.wait(TELL_INTERVAL)
            self._ready.clear()
            while self._queue:
                self._step()
            self._tell_if_room(flushing=False)
            self._hurry.wait(GATHER)
        os.close(self._descriptor)

    def _step(self) -> None:
        """Write some lines, or answer `flush`."""
        first = self._queue.popleft()
        if isinstance(first, threading.Event):
            self._tell_if_room(flushing=True)
            self._hurry.clear()
            first.set()
            return
        lines = self._batch(first)
        if not self.write(b"".join(lines)):
            self._failed += len(lines)
        self._taken_bytes += sum(len(line) + LINE_COST for line in lines)
        self._tell_if_room(flushing=False)

    def _batch(self, first: bytes) -> list[bytes]:
        """Return this line and those behind it that fit into one write."""
        lines, size = [first], len(first)
        while self._queue and isinstance(line := self._queue[0], bytes):
            size += len(line)
            if size > BATCH_LIMIT:
                break
            lines.append(line)
            self._queue.popleft()
        return lines

    def _tell_if_room(self, *, flushing: bool) -> None:
        if self._works and self._put_bytes - self._taken_bytes <= QUEUE_LIMIT // 2:
            self._tell(flushing)

    def _write_all(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # O_NONBLOCK is shared by all processes that have the pipe
                self._wait_for_room()
            else:
                self._torn = bool(data)

    def _wait_for_room(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll()
