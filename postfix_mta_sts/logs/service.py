"""The log of a process that serves: it never waits for the log, and the log stays small.

Lines pass a `Budget`, are formatted, and go to a `Writer`. Two events of this module tell what is
missing; the thread of the writer writes them past budget and queue.
"""

import logging
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from postfix_mta_sts.logs.budget import Budget, Kind
from postfix_mta_sts.logs.events import Event, event
from postfix_mta_sts.logs.writer import Writer

FLUSH_TIMEOUT: Final = 1.0
"""Seconds for the lines that wait when the process ends."""
REPORT_INTERVAL: Final = 60.0
"""Seconds between two reports of the lines that were left out."""


class Missing(NamedTuple):
    """Lines that are not in the log."""

    dropped: int = 0
    """Nobody read the log, or it could not be written."""
    left_out: int = 0
    """There were too many of one kind."""


class ServiceHandler(logging.Handler):
    """Hands lines to a thread; `limited`: at most as many of each kind as a `Budget` admits.

    `clock` gives monotonic seconds.
    """

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.limited = True
        self._clock = clock
        self._budget = Budget()
        self._told_lost = 0
        self._report_at = clock() + REPORT_INTERVAL
        self._writer = Writer(descriptor, self._tell)
        self._log = _own_logger(self)
        self._notices = _own_logger(_Notices(self._write_notice))
        self._wrote = True

    @property
    def missing(self) -> Missing:
        """The lines that are missing since the start."""
        return Missing(self._writer.lost, self._budget.left_out)

    def emit(self, record: logging.LogRecord) -> None:
        """Put a line into the queue, or count it."""
        kind = _kind(record)
        if self.limited and not self._budget.admits(kind, self._clock()):
            return
        if not self._writer.has_room(important=kind.important):
            return
        try:
            line = self._encode(record)
        except Exception:  # noqa: BLE001 (a line of another library whose arguments do not fit it)
            self.handleError(record)
            return
        self._writer.put(line)
        if self.limited:
            self._budget.charge(kind, len(line))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (of logging.Handler)
        """Log the text of a record that cannot be formatted.

        Python's own version prints to standard error, which may block.
        """
        text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        event(self._log, logging.ERROR, "log line not formatted", library=record.name, text=text)

    def flush(self) -> None:
        """Wait until all lines are written, or `FLUSH_TIMEOUT` is over."""
        self._writer.flush(FLUSH_TIMEOUT)

    def close(self) -> None:
        """End the thread, without waiting for it."""
        self._writer.close()
        super().close()

    def _encode(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode("ascii", "backslashreplace")

    def _tell(self, flushing: bool) -> None:  # noqa: FBT001 (called by the writer alone)
        """Write what is missing; this runs in the thread of the writer."""
        lost = self._writer.lost - self._told_lost
        if lost:
            event(self._notices, logging.WARNING, "log lines dropped", count=lost)
            self._told_lost += lost if self._wrote else 0
        now = self._clock()
        if flushing or now >= self._report_at:
            self._report_at = now + REPORT_INTERVAL
            self._report_left_out()

    def _report_left_out(self) -> None:
        for (text, important), count in self._budget.report().items():
            level = logging.WARNING if important else logging.INFO
            event(self._notices, level, "log lines left out", text=text, count=count)

    def _write_notice(self, record: logging.LogRecord) -> None:
        self._wrote = self._writer.write(self._encode(record))


class _Notices(logging.Handler):
    """Passes records to a function."""

    def __init__(self, write: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        self._write(record)


def _own_logger(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger(__name__)  # noqa: LOG001 (this handler alone, whatever the root has)
    logger.addHandler(handler)
    return logger


def _kind(record: logging.LogRecord) -> Kind:
    text = record.msg.what if isinstance(record.msg, Event) else record.name
    return Kind(text, record.levelno >= logging.WARNING)
