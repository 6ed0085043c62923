"""Compare two consecutive states of a domain and describe what changed, for the log.

Pure functions. The event texts and the keys of the fields are defined here; the resolver writes
them to the log. `weakening` decides which changes make the protection of a domain weaker.
"""

import enum
from collections.abc import Iterator, Mapping

from postfix_mta_sts.mtasts.dane import DANE_KINDS, DaneKind
from postfix_mta_sts.mtasts.errors import DnsFailureError, NoRecordError
from postfix_mta_sts.mtasts.lifecycle import Failure, State, live
from postfix_mta_sts.mtasts.policy import Mode, Policy
from postfix_mta_sts.mtasts.verdict import Verdict
from postfix_mta_sts.values import Value, replace


class Severity(enum.Enum):
    """How important a change is to an administrator."""

    DETAIL = "useful only for debugging"
    NOTE = "worth knowing"
    WARNING = "needs attention"


class Change(Value, frozen=True):
    """One log event."""

    what: str
    """The event text, a string literal in this module."""
    severity: Severity
    fields: Mapping[str, object]


def changes(before: State | None, after: State, now: float) -> Iterator[Change]:
    """Yield what an attempt that ended at `now` has changed, in the order of the log lines."""
    if after.policy and (before is None or after.fetched_at != before.fetched_at):
        yield from _fetched(before, after, after.policy)
    failed = after.failure and (before is None or after.failure != before.failure)
    if after.failure and failed:
        yield _failed(before, after, after.failure, now)
    if before and before.failure and before.policy and after.policy and not after.failure:
        count, since = before.failure.count, before.failure.since
        fields = {"failures": count, "seconds": round(now - since)}
        yield Change(
            "renewal recovered", Severity.NOTE, {**_policy_fields(after, after.policy), **fields}
        )


def from_relay(change: Change, relay: str) -> Change:
    """The change with the name of the relay that has given the policy to the fleet."""
    return replace(change, fields={**change.fields, "relay": relay})


def verdict_change(before: Verdict | None, after: Verdict) -> Change:
    """Describe the result of a DANE look-up.

    It is a note if the domain has or had DANE, or if a DNS failure holds its mail back, and if
    the verdict differs from the last one; otherwise it is a detail.
    """
    failed = after.kind in {DaneKind.FAILURE, DaneKind.SOME_FAILED}
    mail_is_held = failed and after.mx_is_secure
    had_dane = before is not None and before.kind in DANE_KINDS
    matters = mail_is_held or after.kind in DANE_KINDS or had_dane
    same = before is not None and before.kind is after.kind and before.failure == after.failure
    fields = {
        "kind": after.kind,
        "reason": after.failure or after.reason,
        "old_kind": before.kind if before and before.kind is not after.kind else None,
    }
    severity = Severity.NOTE if matters and not same else Severity.DETAIL
    return Change("DANE verdict", severity, fields)


def _fetched(before: State | None, after: State, policy: Policy) -> Iterator[Change]:
    fields = _policy_fields(after, policy)
    old = before.policy if before else None
    if before is None or old is None:
        yield Change("policy fetched", Severity.NOTE, fields)
    elif old.text == policy.text and before.policy_id == after.policy_id:
        yield Change("policy renewed", Severity.DETAIL, fields)
        return  # nothing of it is new
    else:
        yield Change("policy changed", Severity.NOTE, {**fields, "old_id": before.policy_id})
    if policy.mode is Mode.ENFORCE and policy.allows_no_host:
        what = {"id": after.policy_id, "mx": policy.mx}
        yield Change("no certificate can match the policy, mail is held", Severity.WARNING, what)


def _failed(before: State | None, after: State, failure: Failure, now: float) -> Change:
    fields = {"error": failure.code, "reason": failure.reason, "failures": failure.count}
    reportable = {**fields, "result": failure.result}  # RFC 8461 §6
    # Only the 1st, 2nd, 4th, 8th … failure in a row is more than a detail.
    is_power_of_two = not failure.count & (failure.count - 1)
    severity = Severity.NOTE if is_power_of_two else Severity.DETAIL
    if (cached := live(after, now)) and cached.policy:
        left = {
            **_policy_fields(cached, cached.policy),
            "expires_in": round(cached.expires_at - now),
        }
        severity = _warn_unless_mode_none(severity, cached)
        if failure.code == NoRecordError.code:
            return Change("TXT record missing", severity, {**left, **reportable})
        return Change("renewal failed", severity, {**left, **reportable})
    if before and before.policy:
        fields = {**_policy_fields(before, before.policy), **reportable}
        return Change("policy expired", _warn_unless_mode_none(Severity.NOTE, before), fields)
    if failure.code in {NoRecordError.code, DnsFailureError.code}:
        return Change("no policy", Severity.DETAIL, fields)
    return Change("no policy", severity, reportable)


def _warn_unless_mode_none(severity: Severity, state: State) -> Severity:
    """Turn a note into a warning unless the mode of the policy is none (RFC 8461 §3.3, §10.2)."""
    is_note = severity is Severity.NOTE and state.policy and state.policy.mode is not Mode.NONE
    return Severity.WARNING if is_note else severity


def _policy_fields(state: State, policy: Policy) -> dict[str, object]:
    return {
        "id": state.policy_id,
        "mode": policy.mode,
        "mx": policy.mx,
        "max_age": policy.max_age,
    }
