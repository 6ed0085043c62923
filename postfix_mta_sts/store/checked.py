"""Check exceptions and checks that were read back: only what this program writes is used.

A file may be damaged, and another program may have written a row; the values have their types, and
nothing more is known of them.
"""

from typing import Final

from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.exceptions import (
    REASON_LIMIT,
    PolicyException,
    parse_exception,
    parse_scope,
)
from postfix_mta_sts.values import replace

_TEXT_LIMIT: Final = 16 * 2**10
"""Characters of a text; those that we write are shorter."""
_DATES: Final = (-62_135_596_800.0, 253_402_300_799.0)
"""The years 1 to 9999 in epoch seconds; `datetime` has no others."""
_REASON_LENGTH: Final = 4 * REASON_LIMIT
"""Characters of a reason, in which `printable` has replaced what is not ASCII."""


class NotOursError(Exception):
    """This program does not write such a value; `str()` is one printable line."""


def checked_exception(scope: str, found: PolicyException) -> PolicyException:
    """Return the exception that was kept for a scope.

    Raises `NotOursError`, `InvalidExceptionError`.
    """
    reason = found.reason
    require_dates(found.until, found.added_at)
    if found.added_at is not None and found.added_at < 0:
        raise NotOursError("it was added before 1970")
    if not _is_printable(reason, _REASON_LENGTH) or not reason:
        raise NotOursError("its reason is no line of printable ASCII")
    made = parse_exception(
        parse_scope(scope, anyway=True),
        found.use,
        "checked above",
        found.until,
        mx=found.mx,
        ignores_dane=found.ignores_dane,
        added_at=found.added_at,
        uid=found.uid,
        relay=found.relay,
    )
    if replace(made, reason=reason) != found or scope != found.scope:
        raise NotOursError("its content is not what this program writes")
    return found


def checked_check(domain: str, found: Check, now: float) -> Check:
    """Return the check that was kept for a domain; a time after `now` is that of a clock ahead.

    Raises `NotOursError`, `InvalidDomainError`.
    """
    if found.domain != parse_domain(domain):
        raise NotOursError("its content is that of another domain")
    require_printable(found.sentence, found.cause, found.fault, found.policy_id)
    require_dates(found.checked_at, found.since)
    at = min(found.checked_at, now)
    return replace(found, checked_at=at, since=min(found.since, at))


def require_dates(*times: float | None) -> None:
    """Raise `NotOursError` for a time that no command could print."""
    first, last = _DATES
    if not all(at is None or first <= at <= last for at in times):
        raise NotOursError("a time is no date")


def require_printable(*texts: str) -> None:
    """Raise `NotOursError` for a text that is not one line of printable ASCII."""
    if not all(_is_printable(text, _TEXT_LIMIT) for text in texts):
        raise NotOursError("a text is not printable ASCII")


def _is_printable(text: str, limit: int) -> bool:
    return len(text) <= limit and text.isascii() and text.isprintable()
