"""What enforcing would do to mail for a domain: the values of `trial report` and `trial scan`.

Pure. `admin.trial` makes them of what the daemon knows; `cli.trial` makes them of what it finds
itself, and shows them. Times are epoch seconds.
"""

import enum
from typing import Final

from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.exceptions import PolicyException, Use
from postfix_mta_sts.mtasts.policy import Mode, is_enforced
from postfix_mta_sts.values import Value, replace


class Outcome(enum.StrEnum):
    """What would happen to mail for a domain if policies were enforced."""

    HELD = "held"
    DELIVERED = "delivered"
    UNKNOWN = "unknown"
    """A check was made, and could not tell."""
    NOT_CHECKED = "not-checked"
    """No check of this policy was made yet."""
    NOT_ENFORCED = "not-enforced"
    """Nothing changes: see `Finding.why`."""
    NO_POLICY = "no-policy"
    UNFETCHED = "unfetched"
    """A policy is published that cannot be had, so that none would be in force."""
    UNANSWERED = "unanswered"
    """The DNS did not say whether there is a policy."""
    PENDING = "pending"
    """The scan was interrupted before it looked at the domain."""


class Finding(Value, frozen=True, kw_only=True):
    """What is known of one domain; all text is printable ASCII."""

    domain: str
    outcome: Outcome
    why: str | None = None
    """Of `NOT_ENFORCED`: `testing` or `none`, the mode; `no-policy`: it has expired; `dane`, which
    decides; `exception`. Of `NOT_CHECKED`: `never`, or `older-policy` if the last check was of
    another policy."""
    mode: Mode | None = None
    """Of the policy; None: there is none, or none is known."""
    id: str | None = None
    look_ups: int | None = None
    """Since the time of the report; None in a scan."""
    sentence: str | None = None
    """What the check found; see `Check` for the next two as well."""
    cause: str | None = None
    fault: str | None = None
    checked_at: int | None = None
    since: int | None = None
    """When the first of the checks in a row with this result was made."""


class Policed(Value, frozen=True, kw_only=True):
    """A domain with a policy, as the daemon knows it."""

    mode: Mode | None
    policy_id: str | None
    is_dane: bool
    """Whether DANE decides, on trial and without."""
    enforces_testing: bool
    """Whether a map treats mode testing as enforce."""
    exception: PolicyException | None = None
    """The one in force."""


def judge(policed: Policed, check: Check | None) -> tuple[Outcome, str | None]:
    """What enforcing would do by the last check; and why not, see `Finding.why`."""
    use = policed.exception and policed.exception.use
    if use in {Use.IGNORE, Use.MAY, Use.ENCRYPT}:
        return Outcome.NOT_ENFORCED, "exception"
    if policed.is_dane:
        return Outcome.NOT_ENFORCED, "dane"
    testing = policed.enforces_testing or use is Use.ENFORCE
    if not is_enforced(policed.mode, testing=testing) and use is not Use.PIN:
        return Outcome.NOT_ENFORCED, policed.mode or "no-policy"
    if check is None:
        return Outcome.NOT_CHECKED, "never"
    if check.policy_id != ("" if use is Use.PIN else policed.policy_id):
        return Outcome.NOT_CHECKED, "older-policy"
    return _OUTCOMES[check.result], None


def with_check(finding: Finding, check: Check) -> Finding:
    """The finding with what the last check said."""
    return replace(
        finding,
        sentence=check.sentence,
        cause=check.cause,
        fault=check.fault,
        checked_at=round(check.checked_at),
        since=round(check.since),
    )


_OUTCOMES: Final = {
    CheckResult.DELIVERED: Outcome.DELIVERED,
    CheckResult.HELD: Outcome.HELD,
    CheckResult.UNKNOWN: Outcome.UNKNOWN,
}
