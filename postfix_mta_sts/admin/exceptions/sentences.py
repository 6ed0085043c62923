"""What commands say of an exception, in one line."""

from collections.abc import Mapping
from typing import Any

from postfix_mta_sts.admin.times import NO_VALUE, ago, ahead, day_of_week, moment
from postfix_mta_sts.mtasts.check import CheckResult
from postfix_mta_sts.mtasts.exceptions import PolicyException, Use


def described(exception: PolicyException, now: float) -> str:
    """Say all of an exception but its scope."""
    return f"{used(exception)}, {ends(exception, now)}, by {author(exception)}: {exception.reason}"


def used(exception: PolicyException) -> str:
    """Say its use: `pin mx1.example.com`, `may, dane: ignore`."""
    words = [exception.use.value]
    if exception.use is Use.PIN:
        words.append(" ".join(exception.mx))
    return " ".join(words) + (", dane: ignore" if exception.ignores_dane else "")


def with_details(exception: PolicyException) -> str:
    """Say its reason, and what its use alone does not say."""
    details = f" (mx {' '.join(exception.mx)})" if exception.mx else ""
    return f"{exception.reason}{details}{' (dane: ignore)' if exception.ignores_dane else ''}"


def ends(exception: PolicyException, now: float) -> str:
    """Say when it ends, or ended."""
    if exception.until is None:
        return "forever"
    if not exception.is_in_force(now):
        return f"ended {moment(exception.until)}"
    return f"until {moment(exception.until)}, {ahead(exception.until, now)}"


def ends_shortly(exception: PolicyException, now: float) -> str:
    """Say the same for a column."""
    if exception.until is None:
        return "never"
    is_over = not exception.is_in_force(now)
    return f"ended {ago(exception.until, now)}" if is_over else ahead(exception.until, now)


def checked(check: Mapping[str, Any], now: float) -> str:
    """Say what the last check of its domain has found (`views.check_to_json`)."""
    match check["result"]:
        case CheckResult.DELIVERED:
            found = f"would verify again since {day_of_week(check['since'], now)}"
        case CheckResult.HELD:
            found = f"still needed: {check['sentence']}"
        case _:
            found = f"not known: {check['sentence']}"
    return f"{found}; checked {ago(check['checked_at'], now)}"


def author(exception: PolicyException) -> str:
    """Say by what it was made: `the configuration`, `uid 0`, in a fleet `uid 0 on mx1`."""
    if exception.added_at is None:
        return "the configuration"
    user = f"uid {NO_VALUE if exception.uid is None else exception.uid}"
    return f"{user} on {exception.relay}" if exception.relay else user
