"""One event, one line: the domain first, then what happened, then what is known of it.

Border: the form of a line, and where lines go. What is worth a line, and at which level, is for
the caller to say. Lines of other libraries come out in the same form, so that no text from
anywhere can forge a line or a field.
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

_PLAIN = re.compile(r"[!#-<>-~]+")
"""What stands in a text line unquoted: printable ASCII without blank, quote and '='."""
_UNPRINTABLE = re.compile(r"[^ -~]")
_FIXED: Final = ("time", "level", "logger", "event", "domain", "exception")
"""The keys of a JSON line that no field can take."""
# sd-daemon(3): the priorities of syslog, as a prefix that the journal takes off again.
_PRIORITIES: Final = (
    (logging.CRITICAL, "<2>"),
    (logging.ERROR, "<3>"),
    (logging.WARNING, "<4>"),
    (logging.INFO, "<6>"),
)


@dataclass(frozen=True, slots=True)
class Event:
    """A log record's message; `str()` is its text line, without time and level."""

    what: str
    domain: str | None
    fields: Mapping[str, object]

    def __str__(self) -> str:
        where = f"{_quoted(self.domain)}: " if self.domain is not None else ""
        what = _UNPRINTABLE.sub(lambda match: _escaped(match[0]), self.what)
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
    """Log that `what` happened, to `domain` if to one; costs next to nothing below the level.

    `what` is in our own words; everything else goes into fields. A field that is None is left
    out; sequences are lists; `exc_info` adds the field `exception`, with its traceback.
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
    """Let everything that is logged from `level` on go to `stream`, as `form`: text or json.

    At DEBUG only our own: that of other libraries is theirs to read, and there is much of it.
    With `journal` (see `to_journal`) a text line bears no time, which the journal knows, and
    its level as sd-daemon(3) has it. A second call replaces what the first has set up.
    """
    lines = _Lines(stream)
    lines.setFormatter(_Json() if form == "json" else _Text(journal=journal))
    for earlier in [h for h in root.handlers if isinstance(h, _Lines)]:
        root.removeHandler(earlier)
    root.addHandler(lines)
    root.setLevel(level.upper())


def to_journal(environ: Mapping[str, str], stream: TextIO) -> bool:
    """Whether `stream` is the systemd journal's (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or not a file at all
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _Lines(logging.StreamHandler[TextIO]):
    """A stream handler that `set_up` knows again."""

    def filter(self, record: logging.LogRecord) -> bool:
        ours = record.name.startswith(__package__)
        return ours or record.levelno > logging.DEBUG


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
        return _quoted(record.getMessage()) + _pairs({"logger": record.name, **exception})


class _Json(logging.Formatter):
    """One object a line: the fixed keys, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        msg = record.msg
        said = msg if isinstance(msg, Event) else Event(record.getMessage(), None, {})
        fixed = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": said.what,
            "domain": said.domain,
        }
        fields = {k: _plain(v) for k, v in said.fields.items() if k not in _FIXED}
        whole = fixed | fields | {"exception": _exception(self, record)}
        return json.dumps({k: v for k, v in whole.items() if v is not None}, allow_nan=False)


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _priority(level: int) -> str:
    return next((prefix for least, prefix in _PRIORITIES if level >= least), "<7>")


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    return formatter.formatException(record.exc_info) if record.exc_info else None


def _pairs(fields: Mapping[str, object]) -> str:
    return "".join(
        f" {_quoted(name)}={_quoted(_text(value))}"
        for name, value in fields.items()
        if value is not None
    )


def _plain(value: object) -> object:
    """The value as JSON has it."""
    match value:
        case None | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes() | bytearray():
            return value.decode("ascii", "backslashreplace")
        case Sequence() | AbstractSet():
            return [_plain(item) for item in value]
        case BaseException():
            return f"{type(value).__name__}: {value}"
    return str(value)


def _text(value: object) -> str:
    match plain := _plain(value):
        case bool():
            return "true" if plain else "false"
        case list():
            return ",".join(map(_text, plain))
    return str(plain)


def _quoted(text: str) -> str:
    """The text as it stands if it is plain, else as a JSON string of printable ASCII."""
    if _PLAIN.fullmatch(text):
        return text
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    # JSON lets DEL stand as it is; a terminal may not.
    return json.dumps(text)[1:-1].replace("\x7f", "\\u007f")
