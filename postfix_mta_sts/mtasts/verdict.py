"""The verdict of DANE on a domain: how long it is valid, and its text for the store.

Pure functions. `after_verdict` turns the outcome of a DANE look-up (`dane`) into the `Verdict` that
memory and the store keep; `postfix.protocol.reply` turns the verdict into a reply. The timers of a
verdict are here because `lifecycle` imports this module. Times are seconds since the epoch, passed
in by the caller.
"""

import json
import math
from typing import Final

from postfix_mta_sts.mtasts.dane import DaneKind, DaneOutcome, Host, HostState, MxState, check_text
from postfix_mta_sts.values import Value, replace

MIN_LIFE: Final = 60.0
MAX_LIFE: Final = 24 * 3600.0
"""A verdict is valid for the smallest TTL of its answers, but within these two."""
RECHECK_SHARE: Final = 0.75
"""After this share of its life a look-up starts a new DANE look-up in the background."""
FAILURE_RETRY: Final = 30.0
"""After a failure the DNS is asked again after this time."""


class Verdict(Value, frozen=True):
    """The verdict on a domain, and how long it is valid."""

    outcome: DaneOutcome
    found_at: float
    recheck_at: float
    """A look-up after this time asks the DNS again."""
    until: float
    """When the verdict is forgotten; the next look-up then waits for the DNS."""
    failure: str | None = None
    """Why the latest DANE look-up failed, if it did. Printable ASCII."""
    was_protected: bool = False
    """Whether DANE protected a host when the DNS last told; False if this verdict tells."""

    def __post_init__(self) -> None:
        if self.failure is not None:
            check_text(self.failure)
        if not all(map(math.isfinite, (self.found_at, self.recheck_at, self.until))):
            raise ValueError("a time is not a finite number")
        if self.recheck_at > self.until:
            raise ValueError("recheck_at is later than until")

    @property
    def kind(self) -> DaneKind:
        """What it means for the domain."""
        return self.outcome.kind

    @property
    def reason(self) -> str:
        """The step that decided the kind."""
        return self.outcome.reason

    @property
    def protects(self) -> bool:
        """Whether DANE authenticates some MX host; if the DNS did not tell, whether it did."""
        return self.was_protected or self.kind in {DaneKind.ALL, DaneKind.SOME}

    @property
    def mx_is_secure(self) -> bool:
        """Whether the MX RRset is signed, regardless of the later steps."""
        return self.outcome.mx is MxState.SECURE


def after_verdict(before: Verdict | None, outcome: DaneOutcome, now: float) -> Verdict:
    """Return the verdict after a DANE look-up.

    A failure takes back nothing: what an unexpired verdict says of the domain, or of a host whose
    look-up failed now, stays until that verdict expires, and for a day at most if the clock was
    set back.
    """
    return _remembering(before, _after_verdict(before, outcome, now))


def _remembering(before: Verdict | None, after: Verdict) -> Verdict:
    """Return the later verdict; one that does not tell notes whether DANE protected a host."""
    is_open = after.kind in {DaneKind.FAILURE, DaneKind.SOME_FAILED}
    was_protected = is_open and before is not None and before.protects
    return replace(after, was_protected=True) if was_protected else after


def _after_verdict(before: Verdict | None, outcome: DaneOutcome, now: float) -> Verdict:
    if not outcome.is_complete and before and is_live(before, now):
        kept = _with_known_hosts(before.outcome, outcome)
        if kept is not outcome:
            until = min(before.until, now + MAX_LIFE)
            recheck_at = min(now + FAILURE_RETRY, until)
            return Verdict(kept, before.found_at, recheck_at, until, outcome.failure)
    if outcome.kind is DaneKind.FAILURE:
        return Verdict(outcome, now, now + FAILURE_RETRY, now + FAILURE_RETRY)
    life = min(max(outcome.ttl, MIN_LIFE), MAX_LIFE) if outcome.is_complete else MIN_LIFE
    return Verdict(outcome, now, now + RECHECK_SHARE * life, now + life)


def latest(one: Verdict | None, other: Verdict | None, now: float) -> Verdict | None:
    """Return the later of two verdicts, as if it had been found after the other one.

    So a failure does not replace what an unexpired verdict says, whichever is read first.
    """
    if one is None or other is None:
        return one or other
    before, after = sorted((one, other), key=lambda verdict: verdict.found_at)
    if after.outcome.is_complete or not is_live(before, now):
        return _remembering(before, after)
    return after_verdict(before, after.outcome, now)


def _with_known_hosts(before: DaneOutcome, after: DaneOutcome) -> DaneOutcome:
    """Return `after` with what `before` says where `after` failed; `after` itself if nothing."""
    known = {host.name: host for host in before.hosts if host.state is not HostState.FAILED}
    failed = [host.name for host in after.hosts if host.state is HostState.FAILED]
    if not known.keys().isdisjoint(failed):
        hosts = (known.get(h.name, h) if h.state is HostState.FAILED else h for h in after.hosts)
        return replace(after, hosts=tuple(hosts))
    nothing_is_known = after.kind is DaneKind.FAILURE and before.kind is not DaneKind.FAILURE
    return before if nothing_is_known else after


def is_live(verdict: Verdict | None, now: float) -> bool:
    """Whether a reply may use the verdict; otherwise a look-up waits for a new one.

    A verdict from the future (the clock was set back) is live unless it is a failure.
    """
    if verdict is None or now >= verdict.until:
        return False
    return now >= verdict.found_at or verdict.kind is not DaneKind.FAILURE


def is_due(verdict: Verdict | None, now: float) -> bool:
    """Whether to ask the DNS; if the verdict is live, in the background."""
    return verdict is None or now >= verdict.recheck_at or now < verdict.found_at


def believable(verdict: Verdict, now: float) -> Verdict:
    """Return the verdict without a time that cannot be true at `now`; itself if there is none.

    Such a time was noted by a clock that was ahead. The verdict is then due to be looked up again;
    until then it stays, for MAX_LIFE at most, except a failure, which is forgotten.
    """
    if verdict.found_at > now:
        life = 0.0 if verdict.kind is DaneKind.FAILURE else MAX_LIFE
        until = min(verdict.until, now + life)
        return replace(verdict, found_at=now, recheck_at=min(now, until), until=until)
    if verdict.until > now + MAX_LIFE:
        recheck_at = min(verdict.recheck_at, now + MAX_LIFE)
        return replace(verdict, recheck_at=recheck_at, until=now + MAX_LIFE)
    return verdict


def to_text(verdict: Verdict) -> str:
    """Return the verdict as one line of JSON in printable ASCII, for the store."""
    outcome = verdict.outcome
    values = {
        "found_at": float(verdict.found_at),
        "recheck_at": float(verdict.recheck_at),
        "until": float(verdict.until),
        "failure": verdict.failure,
        "mx": outcome.mx,
        "step": outcome.step,
        "hosts": [[host.name, host.state, host.step] for host in outcome.hosts],
        "ttl": int(outcome.ttl),
    }
    if verdict.was_protected:
        values["was_protected"] = True
    return json.dumps(values, separators=(",", ":"))


def from_text(text: str) -> Verdict | None:
    """Return the verdict of which this is exactly the text; None for any other text."""
    try:
        verdict = _parse_verdict(json.loads(text))
    except (ValueError, RecursionError):
        return None
    return verdict if to_text(verdict) == text else None


def _parse_verdict(value: object) -> Verdict:
    match value:
        case {
            "found_at": float(found_at),
            "recheck_at": float(recheck_at),
            "until": float(until),
            "failure": str() | None as failure,
            "mx": str(mx),
            "step": str(step),
            "hosts": list(hosts),
            "ttl": int(ttl),
            **rest,
        }:
            outcome = DaneOutcome(MxState(mx), step, tuple(map(_parse_host, hosts)), ttl)
            was_protected = "was_protected" in rest
            return Verdict(outcome, found_at, recheck_at, until, failure, was_protected)
    raise ValueError("not a verdict")


def _parse_host(value: object) -> Host:
    match value:
        case [str(name), str(state), str(step)]:
            return Host(name, HostState(state), step)
    raise ValueError("not a host")
