"""Exceptions as plain data for JSON, and the request that adds one.

Pure. Times become whole epoch seconds. What a client sends is parsed here again, whatever the
command has checked.
"""

import math
from collections.abc import Mapping
from typing import Any

from postfix_mta_sts.admin.exceptions.stages import overview
from postfix_mta_sts.config import dates
from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import (
    Exceptions,
    InvalidExceptionError,
    PolicyException,
    Scope,
    Use,
    parse_exception,
    parse_scope,
)
from postfix_mta_sts.values import Value, json_decoder


class AddRequest(Value, frozen=True, forbid_unknown_fields=True):
    """The body of the request that adds an exception: exactly one of its three ends is given."""

    scope: str
    use: Use
    reason: str
    until: float | None = None
    """Epoch seconds."""
    seconds: float | None = None
    """From now on, by the clock of the daemon."""
    forever: bool = False
    mx: tuple[str, ...] = ()
    ignores_dane: bool = False
    anyway: bool = False
    """Whether `*.tld` is meant."""


_decode = json_decoder(AddRequest)


def parse_add_request(body: bytes, now: float, uid: int | None, relay: str = "") -> PolicyException:
    """Make the exception of a request by the user `uid`, in a fleet on the relay of this name.

    Raises `InvalidExceptionError`.
    """
    try:
        asked = _decode(body.decode())
    except ValueError:
        uses = ", ".join(Use)
        reason = f"not a valid request: scope, use ({uses}), reason, and an end"
        raise InvalidExceptionError(reason) from None
    return parse_exception(
        parse_scope(asked.scope, anyway=asked.anyway),
        asked.use,
        asked.reason,
        _end(asked, now),
        mx=asked.mx,
        ignores_dane=asked.ignores_dane,
        added_at=now,
        uid=uid,
        relay=relay,
    )


def _end(asked: AddRequest, now: float) -> float | None:
    given = (asked.until is not None, asked.seconds is not None, asked.forever)
    if sum(given) != 1:
        raise InvalidExceptionError("write one end: for how long, until when, or forever")
    if asked.forever:
        return None
    until = asked.until if asked.seconds is None else now + asked.seconds
    if until is None or not math.isfinite(until) or until <= now:
        raise InvalidExceptionError("its end is not in the future")
    if until > now + dates.LONGEST:
        raise InvalidExceptionError("its end is more than ten years away; write forever")
    return float(math.ceil(until))  # as it is shown


def exception_to_json(exception: PolicyException, now: float) -> dict[str, Any]:
    """Convert an exception."""
    return {
        "scope": exception.scope,
        "use": exception.use,
        "reason": exception.reason,
        "until": None if exception.until is None else math.ceil(exception.until),
        "mx": list(exception.mx),
        "ignores_dane": exception.ignores_dane,
        "source": "config" if exception.added_at is None else "command",
        "added_at": None if exception.added_at is None else round(exception.added_at),
        "uid": exception.uid,
        "relay": exception.relay or None,
        "ended": not exception.is_in_force(now),
    }


def applied_to_json(
    exceptions: Exceptions, name: Domain | Scope, now: float
) -> dict[str, Any] | None:
    """Convert the exception that is in force for a domain; None if there is none."""
    found = exceptions.in_force(name, now)
    return exception_to_json(found, now) if found else None


def exception_of_json(fields: Mapping[str, Any]) -> PolicyException:
    """Read what `exception_to_json` has written. Raises `LookupError` and `ValueError`."""
    return PolicyException(
        Scope(fields["scope"]),
        Use(fields["use"]),
        fields["reason"],
        fields["until"],
        tuple(fields["mx"]),
        fields["ignores_dane"],
        fields["added_at"],
        fields["uid"],
        fields.get("relay") or "",
    )


def counts_to_json(exceptions: Exceptions, problem: str, now: float) -> dict[str, Any]:
    """Convert the numbers of exceptions in force; `problem`: why some are not known."""
    found = overview(exceptions, now)
    return {
        "by_use": {use: number for use, number in found.by_use.items() if number},
        "in_force": sum(found.by_use.values()),
        "ending_in_7d": found.ending_in_a_week,
        "ending_in_1d": found.ending_in_a_day,
        "next_end": None if found.next_end is None else math.ceil(found.next_end),
        "problem": problem or None,
    }


def check_to_json(check: Check) -> dict[str, Any]:
    """Convert the last check of a domain."""
    return {
        "result": check.result,
        "sentence": check.sentence,
        "checked_at": round(check.checked_at),
        "since": round(check.since),
    }
