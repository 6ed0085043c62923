"""Structured logging: one event is one line with the domain, the event and its fields.

This package formats lines and chooses where they go. The caller decides what to log, and at which
level. Lines of other libraries get the same format, so that text from the network cannot forge a
line or a field.

`set_up` is for commands, which may wait for their terminal. `set_up_service` is for the daemon and
its network process, which must answer Postfix even if nobody reads the log: a thread writes it,
and a `Budget` for each kind of event keeps it small.
"""

import logging
import os
from collections.abc import Mapping
from typing import Final, TextIO

from postfix_mta_sts.logs.events import Event, event
from postfix_mta_sts.logs.hooks import log_uncaught
from postfix_mta_sts.logs.lines import Json, Lines, Text
from postfix_mta_sts.logs.service import Missing, ServiceHandler

__all__ = [
    "Event",
    "Missing",
    "event",
    "flush",
    "log_uncaught",
    "missing",
    "set_up",
    "set_up_service",
    "to_journal",
]

_OWN: Final = __name__.partition(".")[0]
"""The name of this program's loggers begins with this."""


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
    _replace(_Stream(stream), level, _lines(form, journal=journal), root)


def set_up_service(
    level: str,
    form: str,
    stream: TextIO | None,
    *,
    journal: bool = False,
    root: logging.Logger = logging.root,
) -> None:
    """Like `set_up`, but nobody waits for the log, and each kind of event is limited.

    A second call, after a reload, changes level and form; no line is lost. At level debug the log
    is not limited: the administrator asked for everything. Without a stream nothing is logged.
    One that is not a file is written directly.
    """
    descriptor = _fileno(stream)
    if descriptor is None:
        other = _Stream(stream) if stream else _Nothing()
        _replace(other, level, _lines(form, journal=journal), root)
        return
    handler = next((h for h in root.handlers if isinstance(h, ServiceHandler)), None)
    if handler is None or handler.descriptor != descriptor:
        handler = ServiceHandler(descriptor)
    handler.limited = level.lower() != "debug"
    _replace(handler, level, _lines(form, journal=journal), root)


def missing(root: logging.Logger = logging.root) -> Missing:
    """Return how many lines of this process are missing in the log since the start."""
    handlers = [h for h in root.handlers if isinstance(h, ServiceHandler)]
    return handlers[0].missing if handlers else Missing()


def flush(root: logging.Logger = logging.root) -> None:
    """Write the lines that wait, in at most `FLUSH_TIMEOUT` seconds."""
    for handler in root.handlers:
        handler.flush()


def to_journal(environ: Mapping[str, str], stream: TextIO | None) -> bool:
    """Whether `stream` is connected to the systemd journal (systemd.exec(5), $JOURNAL_STREAM)."""
    descriptor = _fileno(stream)
    if descriptor is None:
        return False
    status = os.fstat(descriptor)
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _Stream(logging.StreamHandler[TextIO]):
    """The handler of `set_up`, which a second call recognizes by its class."""


class _Nothing(logging.NullHandler):
    """The handler of a process without a stream."""


_OF_SET_UP: Final = (_Stream, _Nothing, ServiceHandler)


def _replace(handler: logging.Handler, level: str, lines: Lines, root: logging.Logger) -> None:
    handler.setFormatter(lines)
    handler.addFilter(_not_debug_of_others)
    earlier = [h for h in root.handlers if isinstance(h, _OF_SET_UP)]
    root.addHandler(handler)
    root.setLevel(level.upper())
    for each in earlier:
        if each is not handler:
            root.removeHandler(each)
            each.flush()
            each.close()


def _not_debug_of_others(record: logging.LogRecord) -> bool:
    return record.name.startswith(_OWN) or record.levelno > logging.DEBUG


def _lines(form: str, *, journal: bool) -> Lines:
    return Json() if form == "json" else Text(journal=journal)


def _fileno(stream: TextIO | None) -> int | None:
    """The descriptor of a stream; None if it is closed, or not a file."""
    try:
        descriptor = stream.fileno() if stream else None
        if descriptor is not None:
            os.fstat(descriptor)
    except (OSError, ValueError):
        return None
    return descriptor
