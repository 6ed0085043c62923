"""An event of the log, and how its values are written.

Every text comes out as printable ASCII, so that text from the network cannot forge a line or a
field. Long texts and lists are shortened: `[+N]` stands for N characters or items left out.
"""

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from typing import Final

TEXT_LIMIT: Final = 1_000
"""Characters of one text, unless the line is too long as a whole."""
ITEMS_LIMIT: Final = 10
"""Items of one list."""

_UNQUOTED = re.compile(r"[!#-<>-~]+")
"""Text that needs no quotes in a text line: printable ASCII without space, quote and '='."""
_UNPRINTABLE = re.compile(r"[^ -~]")


@dataclass(frozen=True, slots=True)
class Event:
    """The message of a log record; `str()` is the text line without time and level."""

    what: str
    domain: str | None
    fields: Mapping[str, object]

    def __str__(self) -> str:
        return self.text(TEXT_LIMIT)

    def text(self, limit: int) -> str:
        """The text line without time and level, with at most `limit` characters of each text."""
        where = f"{quote(cut(self.domain, limit))}: " if self.domain is not None else ""
        what = _UNPRINTABLE.sub(lambda match: _escape(match[0]), cut(self.what, limit))
        return where + what + pairs(self.fields, limit)


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


def pairs(fields: Mapping[str, object], limit: int) -> str:
    """Return ` name=value` for each field that is not None."""
    return "".join(
        f" {quote(name)}={quote(_text(value, limit))}"
        for name, value in fields.items()
        if value is not None
    )


def to_json(value: object, limit: int) -> object:
    """Convert a value to a type that JSON has, with at most `limit` characters of each text."""
    match value:
        case None | int():
            return value
        case float() if math.isfinite(value):
            return value
        case str() | bytes() | bytearray():
            return cut(_printed(value), limit)
        case Sequence() | AbstractSet():
            return _items(value, limit)
    return cut(_printed(value), limit)


def _printed(value: object) -> str:
    match value:
        case bytes() | bytearray():
            return value.decode("ascii", "backslashreplace")
        case BaseException():
            return f"{type(value).__name__}: {value}"
    return str(value)


def _items(values: Sequence[object] | AbstractSet[object], limit: int) -> list[object]:
    shown = [to_json(value, limit) for value in islice(values, ITEMS_LIMIT)]
    more = len(values) - len(shown)
    return [*shown, f"[+{more}]"] if more else shown


def cut(text: str, limit: int) -> str:
    """Leave out the middle of a text that is longer than `limit`: both ends of a traceback count.

    The mark comes in addition to the limit.
    """
    if len(text) <= limit:
        return text
    head, tail = limit // 2, limit - limit // 2
    return f"{text[:head]}[+{len(text) - limit}]{text[-tail:]}"


def quote(text: str) -> str:
    """Return plain text unchanged, and other text as a JSON string in printable ASCII."""
    if _UNQUOTED.fullmatch(text):
        return text
    return f'"{_escape(text)}"'


def _text(value: object, limit: int) -> str:
    return _plain(to_json(value, limit))


def _plain(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return ",".join(map(_plain, value))
    return str(value)


def _escape(text: str) -> str:
    # JSON does not escape DEL, which a terminal may interpret.
    return json.dumps(text)[1:-1].replace("\x7f", "\\u007f")
