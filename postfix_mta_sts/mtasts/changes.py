"""Two states of a domain, one after the other → what an administrator wants to know of it.

Border: pure; the resolver writes it to the log, under these words and keys.
"""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from postfix_mta_sts.mtasts.dane import DANE_KINDS, DaneKind, Verdict
from postfix_mta_sts.mtasts.errors import DnsFailureError, NoRecordError
from postfix_mta_sts.mtasts.lifecycle import Failure, State, live
from postfix_mta_sts.mtasts.policy import Mode, Policy


class Severity(enum.Enum):
    """For whom a change is."""

    DETAIL = "whoever looks closely"
    NOTE = "whoever reads the log"
    WARNING = "an administrator, who must act"


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the log: what happened, and the values that tell how."""

    what: str
    weight: Severity
    fields: Mapping[str, object] = field(default_factory=dict)


def changes(before: State | None, after: State, now: float) -> Iterator[Change]:
    """What has changed with an attempt that ended at `now`, in the order of the log's lines."""
    if after.policy and (before is None or after.fetched_at != before.fetched_at):
        yield from _fetched(before, after, after.policy)
    failed = after.failure and (before is None or after.failure != before.failure)
    if after.failure and failed:
        yield from _failed(before, after, after.failure, now)
    if before and before.failure and before.policy and after.policy and not after.failure:
        count, since = before.failure.count, before.failure.since
        fields = {"failures": count, "seconds": round(now - since)}
        yield Change("recovered", Severity.NOTE, {**_described(after, after.policy), **fields})


def verdict_change(before: Verdict | None, after: Verdict) -> Change:
    """What has changed of a domain's DANE, now that it was asked about again.

    A note where there is DANE, was, or mail is held for want of an answer; else a detail.
    """
    held = after.kind is DaneKind.FAILURE and after.mx_is_secure
    matters = held or after.kind in DANE_KINDS or (before and before.kind in DANE_KINDS)
    same = before is not None and before.kind is after.kind and before.failure == after.failure
    fields = {
        "verdict": after.kind,
        "reason": after.failure or after.reason,
        "was": before.kind if before and before.kind is not after.kind else None,
    }
    return Change("DANE", Severity.NOTE if matters and not same else Severity.DETAIL, fields)


def _fetched(before: State | None, after: State, policy: Policy) -> Iterator[Change]:
    fields = _described(after, policy)
    old = before.policy if before else None
    if before is None or old is None:
        yield Change("policy fetched", Severity.NOTE, fields)
    elif old.text == policy.text and before.policy_id == after.policy_id:
        yield Change("policy renewed", Severity.DETAIL, fields)
    else:
        yield Change("policy changed", Severity.NOTE, {**fields, "old_id": before.policy_id})
        yield from _softened(old, policy)


def _softened(old: Policy, new: Policy) -> Iterator[Change]:
    """Changes that an attacker who had got hold of the Policy Host would make (§10.2, §10.3)."""
    if old.mode is Mode.ENFORCE and new.mode is not Mode.ENFORCE:
        to_none = new.mode is Mode.NONE
        yield Change("enforce became none" if to_none else "enforce became testing", Severity.NOTE)
    if old.mx and new.mx and not set(old.mx) & set(new.mx):
        yield Change("mx set replaced", Severity.NOTE, {"mx": new.mx, "old_mx": old.mx})


def _failed(before: State | None, after: State, why: Failure, now: float) -> Iterator[Change]:
    fields = {"error": why.code, "reason": why.reason, "failures": why.count}
    reportable = {**fields, "result": why.result}  # RFC 8461 §6
    # At growing intervals: the 1st, 2nd, 4th, 8th … failure in a row.
    rare = Severity.DETAIL if why.count & (why.count - 1) else Severity.NOTE
    if (kept := live(after, now)) and kept.policy:
        left = {**_described(kept, kept.policy), "expires_in": round(kept.expires_at - now)}
        yield Change(
            "record vanished" if why.code == NoRecordError.code else "renewal failed",
            _warned(rare, kept),
            {**left, **reportable},
        )
    elif before and before.policy:
        expired = {**_described(before, before.policy), **reportable}
        yield Change("policy expired", _warned(Severity.NOTE, before), expired)
    elif why.code in {NoRecordError.code, DnsFailureError.code}:
        yield Change("no policy", Severity.DETAIL, fields)
    else:
        yield Change("no policy", rare, reportable)


def _warned(weight: Severity, state: State) -> Severity:
    """A warning, unless the policy's mode is none (RFC 8461 §3.3, §10.2)."""
    told = weight is Severity.NOTE and state.policy and state.policy.mode is not Mode.NONE
    return Severity.WARNING if told else weight


def _described(state: State, policy: Policy) -> dict[str, object]:
    return {
        "id": state.policy_id,
        "mode": policy.mode,
        "mx": policy.mx,
        "max_age": policy.max_age,
    }
