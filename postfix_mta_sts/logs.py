"""Structured logging: one event is one line with the domain, the event and its fields.

This module formats lines and chooses where they go. The caller decides what to log, and at which
level. Lines of other libraries get the same format, so that text from the network cannot forge a
line or a field.
"""

import json
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TextIO

_UNQUOTED = re.compile(r"[!#-<>-~]+")
"""Text that needs no quotes in a text line: printable ASCII without space, quote and '='."""
_UNPRINTABLE = re.compile(r"[^ -~]")
_FIXED_KEYS: Final = ("time", "level", "logger", "event", "domain", "exception")
"""The keys of a JSON line that a field cannot override."""
# sd-daemon(3): syslog priorities as a prefix, which the journal removes.
_PRIORITIES: Final = (
    (logging.CRITICAL, "<2>"),
    (logging.ERROR, "<3>"),
    (logging.WARNING, "<4>"),
    (logging.INFO, "<6>"),
)


@dataclass(frozen=True, slots=True)
class Event:
    """The message of a log record; `str()` is the text line without time and level."""

    what: str
    domain: str | None
    fields: Mapping[str, object]

    def __str__(self) -> str:
        where = f"{_quote(self.domain)}: " if self.domain is not None else ""
        what = _UNPRINTABLE.sub(lambda match: _escape(match[0]), self.what)
        return where + what + _pairs(self.fields)


def event(
    logger: logging.Logger,
    level: int,
    what: str,
    domain: str | None = None,
    *,
    exc_info: BaseException | None = None,
    **fields: object,
) -> None:
    """Log an event, of a domain if there is one; below the log level this costs almost nothing.

    `what` is a string literal; everything variable goes into fields. A field that is None is left
    out; sequences become lists; `exc_info` adds the field `exception` with the traceback.
    """
    if logger.isEnabledFor(level):
        logger.log(level, Event(what, domain, fields), exc_info=exc_info)


def set_up(
    level: str,
    form: str,
    stream: TextIO,
    *,
    journal: bool = False,
    root: logging.Logger = logging.root,
) -> None:
    """Send log records of `level` and above to `stream`; `form` is text or json.

    DEBUG records of other libraries are dropped: there are many, and they say nothing to an
    administrator. With `journal` (see `to_journal`) a text line has no time, which the journal
    adds, and the level in the form of sd-daemon(3). A second call replaces the first.
    """
    handler = _Handler(stream)
    handler.setFormatter(_Json() if form == "json" else _Text(journal=journal))
    for earlier in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level.upper())


def to_journal(environ: Mapping[str, str], stream: TextIO) -> bool:
    """Whether `stream` is connected to the systemd journal (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or not a file
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _Handler(logging.StreamHandler[TextIO]):
    """The handler of `set_up`, which a second call recognizes by its class."""

    def filter(self, record: logging.LogRecord) -> bool:
        own = record.name.startswith(__package__)
        return own or record.levelno > logging.DEBUG


class _Text(logging.Formatter):
    """`[time LEVEL | <priority>] domain: event key=value …`."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        if self._journal:
            return _priority(record.levelno) + self._line(record)
        return f"{_time(record)} {record.levelname} {self._line(record)}"

    def _line(self, record: logging.LogRecord) -> str:
        exception = {"exception": _exception(self, record)}
        if isinstance(record.msg, Event):
            return str(record.msg) + _pairs(exception)
        return _quote(record.getMessage()) + _pairs({"logger": record.name, **exception})


class _Json(logging.Formatter):
    """One JSON object per line: the fixed keys, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        msg = record.msg
        message = msg if isinstance(msg, Event) else Event(record.getMessage(), None, {})
        fixed = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": message.what,
            "domain": message.domain,
        }
        fields = {k: _to_json(v) for k, v in message.fields.items() if k not in _FIXED_KEYS}
        line = fixed | fields | {"exception": _exception(self, record)}
        return json.dumps({k: v for k, v in line.items() if v is not None}, allow_nan=False)


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _priority(level: int) -> str:
    return next((prefix for minimum, prefix in _PRIORITIES if level >= minimum), "<7>")


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    return formatter.formatException(record.exc_info) if record.exc_info else None


def _pairs(fields: Mapping[str, object]) -> str:
    return "".join(
        f" {_quote(name)}={_quote(_text(value))}"
        for name, value in fields.items()
        if value is not None
    )


def _to_json(value: object) -> object:
    """Convert a value to a type that JSON has."""
    match value:
        case None | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes() | bytearray():
            return value.decode("ascii", "backslashreplace")
        case Sequence() | AbstractSet():
            return [_to_json(item) for item in value]
        case BaseException():
            return f"{type(value).__name__}: {value}"
    return str(value)


def _text(value: object) -> str:
    match plain := _to_json(value):
        case bool():
            return "true" if plain else "false"
        case list():
            return ",".join(map(_text, plain))
    return str(plain)


def _quote(text: str) -> str:
    """Return plain text unchanged, and other text as a JSON string in printable ASCII."""
    if _UNQUOTED.fullmatch(text):
        return text
    return f'"{_escape(text)}"'


def _escape(text: str) -> str:
    # JSON does not escape DEL, which a terminal may interpret.
    return json.dumps(text)[1:-1].replace("\x7f", "\\u007f")
