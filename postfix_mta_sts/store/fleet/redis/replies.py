"""Reads the replies of a server that may be no Redis: each function raises `CannotServeError`."""

import re
from collections.abc import Sequence
from typing import Any, Final

from postfix_mta_sts.store.fleet.engine import SECOND
from postfix_mta_sts.store.fleet.errors import CannotServeError

_NUMBER: Final = re.compile(rb"[0-9]{1,12}")


def integer(reply: Any) -> int:  # noqa: ANN401 (what a server sends)
    """Read a number."""
    if not isinstance(reply, int):
        raise _odd()
    return reply


def octets(reply: Any) -> bytes:  # noqa: ANN401
    """Read a string."""
    if not isinstance(reply, bytes):
        raise _odd()
    return reply


def sequence(reply: Any, length: int | None = None) -> Sequence[Any]:  # noqa: ANN401
    """Read an array, of this length if one is given."""
    if not isinstance(reply, list) or length not in (None, len(reply)):
        raise _odd()
    return reply


def ascii_texts(reply: Any) -> list[str]:  # noqa: ANN401
    """Read an array of strings of ASCII characters."""
    try:
        return [octets(each).decode("ascii") for each in sequence(reply)]
    except UnicodeDecodeError:
        raise _odd() from None


def microseconds(reply: Any) -> int:  # noqa: ANN401
    """Read what TIME says: seconds and microseconds, the latter without leading zeros."""
    seconds, rest = (octets(each) for each in sequence(reply, 2))
    if not _NUMBER.fullmatch(seconds) or not _NUMBER.fullmatch(rest):
        raise _odd()
    return int(seconds) * SECOND + int(rest)


def _odd() -> CannotServeError:
    return CannotServeError("the store answers as no Redis does")
