"""The two forms of a log line, text and JSON.

A line is printable ASCII and at most `LINE_LIMIT` bytes long. syslog daemons cut longer lines, and
the journal splits them; and one write(2) of a line to a pipe, which two processes share, is never
mixed with another (pipe(7), PIPE_BUF).
"""

import json
import logging
from abc import abstractmethod
from datetime import UTC, datetime
from typing import Final

from postfix_mta_sts.logs.events import TEXT_LIMIT, Event, cut, pairs, quote, to_json

LINE_LIMIT: Final = 4_095
"""Bytes of a line without its end; PIPE_BUF is 4,096 on Linux."""

_TEXT_LIMITS: Final = (TEXT_LIMIT, 300, 100, 30)
"""Characters of each text: the first number with which the line is short enough is used."""
_TRACEBACK: Final = 3
"""A traceback may be this many times as long as another text."""
_FIXED_KEYS: Final = ("time", "level", "logger", "event", "domain", "exception")
"""The keys of a JSON line that a field cannot override."""
# sd-daemon(3): syslog priorities as a prefix, which the journal removes.
_PRIORITIES: Final = (
    (logging.CRITICAL, "<2>"),
    (logging.ERROR, "<3>"),
    (logging.WARNING, "<4>"),
    (logging.INFO, "<6>"),
)


class Lines(logging.Formatter):
    """Formats a record as one line that is short enough."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end; long values are cut until it fits."""
        message = _message(record)
        trace = self.formatException(record.exc_info) if record.exc_info else None
        for limit in _TEXT_LIMITS:
            shown = None if trace is None else cut(trace, limit * _TRACEBACK)
            line = self.line(record, message, shown, limit)
            if len(line) <= LINE_LIMIT:
                return line
        # Many fields, which no event of this program has.
        short = Event(message.what, message.domain, {"fields_left_out": len(message.fields)})
        return self.line(record, short, None, _TEXT_LIMITS[-1])

    @abstractmethod
    def line(self, record: logging.LogRecord, message: Event, trace: str | None, limit: int) -> str:
        """Form the line, with at most `limit` characters of each text but the traceback."""


class Text(Lines):
    """`[time LEVEL | <priority>] domain: event key=value …`."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def line(self, record: logging.LogRecord, message: Event, trace: str | None, limit: int) -> str:
        """Form the line; text of another library is quoted as a whole."""
        if isinstance(record.msg, Event):
            line = message.text(limit)
        else:
            line = quote(cut(message.what, limit)) + pairs(message.fields, limit)
        exception = f" exception={quote(trace)}" if trace is not None else ""
        return self._begin(record) + line + exception

    def _begin(self, record: logging.LogRecord) -> str:
        if self._journal:
            return _priority(record.levelno)
        return f"{_time(record)} {record.levelname} "


class Json(Lines):
    """One JSON object per line: the fixed keys, then the fields."""

    def line(self, record: logging.LogRecord, message: Event, trace: str | None, limit: int) -> str:
        """Form the object."""
        fixed = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": cut(message.what, limit),
            "domain": None if message.domain is None else cut(message.domain, limit),
        }
        fields = {k: to_json(v, limit) for k, v in message.fields.items() if k not in _FIXED_KEYS}
        line = fixed | fields | {"exception": trace}
        return json.dumps({k: v for k, v in line.items() if v is not None}, allow_nan=False)


def _message(record: logging.LogRecord) -> Event:
    """Return the record as an event; one of another library has its logger as a field."""
    if isinstance(record.msg, Event):
        return record.msg
    return Event(record.getMessage(), None, {"logger": record.name})


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _priority(level: int) -> str:
    return next((prefix for minimum, prefix in _PRIORITIES if level >= minimum), "<7>")
