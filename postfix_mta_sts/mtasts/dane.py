"""What the signed DNS says of the MX hosts of a domain (RFC 7672), and how long that is valid.

Pure functions. `network.dane` queries the DNS and returns a `DaneOutcome`; `after_verdict` turns it
into the `Verdict` that memory and the store keep; `postfix.protocol.reply` turns the verdict into a
reply. The timers of a verdict are here because `lifecycle` imports this module. Times are seconds
since the epoch, passed in by the caller.
"""

import enum
import json
import math
import re
from collections.abc import Mapping
from typing import Final

from postfix_mta_sts.values import Value, replace

MIN_LIFE: Final = 60.0
MAX_LIFE: Final = 24 * 3600.0
"""A verdict is valid for the smallest TTL of its answers, but within these two."""
RECHECK_SHARE: Final = 0.75
"""After this share of its life a look-up starts a new DANE look-up in the background."""
FAILURE_RETRY: Final = 30.0
"""After a failure the DNS is asked again after this time."""
MAX_HOSTS: Final = 20
"""Maximum number of MX hosts that are looked up per domain; Postfix tries five addresses."""

_MAX_TTL: Final = 2**31 - 1  # RFC 2181 §8
_TEXT = re.compile(r"[ -~]{1,2000}")
_DIGEST_LENGTHS: Final[Mapping[int, int]] = {1: 32, 2: 64}  # SHA2-256, SHA2-512


class HostState(enum.StrEnum):
    """The result for one MX host."""

    USABLE = "usable"
    """It has secure TLSA records, and at least one can authenticate it."""
    UNUSABLE = "unusable"
    """It has secure TLSA records, none usable: TLS is required, authentication is not (§2.2)."""
    ABSENT = "absent"
    """It is proven to have no TLSA record."""
    INSECURE = "insecure"
    """Its addresses or its TLSA records are not signed, so that DANE does not apply to it."""
    GONE = "gone"
    """It is proven to have no address, so that it gets no mail in any case."""
    SKIPPED = "skipped"
    """It was not looked up: there are more than MAX_HOSTS."""
    FAILED = "failed"
    """The DNS look-up failed; with DANE, Postfix does not use this host (§2.1.1)."""


class MxState(enum.StrEnum):
    """The result for the MX RRset of the domain; its proven absence counts as secure."""

    SECURE = "secure"
    INSECURE = "insecure"
    FAILED = "failed"


class DaneKind(enum.StrEnum):
    """The result for the domain."""

    ALL = "all"
    """Every MX host has usable TLSA records."""
    SOME = "some"
    """Some MX hosts have usable TLSA records."""
    UNUSABLE = "unusable"
    """No MX host has usable TLSA records, but those of at least one require TLS."""
    NONE = "none"
    """The MX RRset is signed, and no MX host has secure TLSA records."""
    INSECURE = "insecure"
    """The MX RRset is not signed, so that DANE does not apply (§2.2.1)."""
    SOME_FAILED = "some-failed"
    """The look-up of some MX hosts failed, and no other has usable TLSA records."""
    FAILURE = "failure"
    """The DNS look-up failed, for the MX RRset or for every MX host."""


DANE_KINDS: Final = frozenset({DaneKind.ALL, DaneKind.SOME, DaneKind.UNUSABLE})
"""Kinds in which DANE decides how mail is delivered."""


class Host(Value, frozen=True):
    """One MX host; `step` is the query that decided and its result. Printable ASCII."""

    name: str
    state: HostState
    step: str

    def __post_init__(self) -> None:
        _check_text(self.name, self.step)


class DaneOutcome(Value, frozen=True):
    """What one DANE look-up found; raises `ValueError` for impossible values."""

    mx: MxState
    step: str
    """The result of the MX query, as printable ASCII."""
    hosts: tuple[Host, ...] = ()
    """In order of preference; empty for a domain that accepts no mail (RFC 7505)."""
    ttl: int = 0
    """The smallest TTL of all answers, in seconds."""

    def __post_init__(self) -> None:
        _check_text(self.step)
        if self.hosts and self.mx is not MxState.SECURE:
            raise ValueError("hosts are looked up only if the MX RRset is signed")
        if not 0 <= self.ttl <= _MAX_TTL:
            raise ValueError("TTL out of range")

    @property
    def kind(self) -> DaneKind:
        """What the outcome means for the domain.

        One host that can be authenticated is enough for DANE, even if the look-up of others failed:
        Postfix does its own look-ups, and skips a host whose look-up fails (RFC 7672 §2.1.1).
        """
        if self.mx is not MxState.SECURE:
            return DaneKind.INSECURE if self.mx is MxState.INSECURE else DaneKind.FAILURE
        states = {host.state for host in self.hosts} - {HostState.GONE}
        if HostState.USABLE in states:
            return DaneKind.ALL if len(states) == 1 else DaneKind.SOME
        if HostState.FAILED in states:
            return DaneKind.FAILURE if len(states) == 1 else DaneKind.SOME_FAILED
        return DaneKind.UNUSABLE if HostState.UNUSABLE in states else DaneKind.NONE

    @property
    def is_complete(self) -> bool:
        """Whether the DNS answered every query."""
        failed = any(host.state is HostState.FAILED for host in self.hosts)
        return self.mx is not MxState.FAILED and not failed

    @property
    def reason(self) -> str:
        """The step that decided the kind."""
        return next((host.step for host in self.hosts if self._decides(host)), self.step)

    @property
    def failure(self) -> str:
        """The first step that failed; without one, the step of the MX query."""
        failed = (host.step for host in self.hosts if host.state is HostState.FAILED)
        return next(failed, self.step)

    def _decides(self, host: Host) -> bool:
        match self.kind:
            case DaneKind.SOME:
                return host.state not in {HostState.USABLE, HostState.GONE}
            case DaneKind.FAILURE | DaneKind.SOME_FAILED:
                return host.state is HostState.FAILED
            case DaneKind.UNUSABLE:
                return host.state is HostState.UNUSABLE
        return host.state is not HostState.GONE


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

    def __post_init__(self) -> None:
        if self.failure is not None:
            _check_text(self.failure)
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
    def mx_is_secure(self) -> bool:
        """Whether the MX RRset is signed, regardless of the later steps."""
        return self.outcome.mx is MxState.SECURE


def is_usable(usage: int, selector: int, matching: int, data: bytes) -> bool:
    """Whether a TLSA record can authenticate an MX host (RFC 7672 §3.1, RFC 6698 §2.1).

    PKIX-TA(0) and PKIX-EE(1) cannot: in SMTP there is no set of CAs on which both sides agree, and
    Postfix ignores these records, too.
    """
    if usage not in {2, 3} or selector not in {0, 1}:
        return False
    if matching == 0:
        return _is_der_sequence(data)
    return len(data) == _DIGEST_LENGTHS.get(matching)


def after_verdict(before: Verdict | None, outcome: DaneOutcome, now: float) -> Verdict:
    """Return the verdict after a DANE look-up.

    A failure takes back nothing: what an unexpired verdict says of the domain, or of a host whose
    look-up failed now, stays until that verdict expires, and for a day at most if the clock was
    set back.
    """
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
        return after
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
        }:
            outcome = DaneOutcome(MxState(mx), step, tuple(map(_parse_host, hosts)), ttl)
            return Verdict(outcome, found_at, recheck_at, until, failure)
    raise ValueError("not a verdict")


def _parse_host(value: object) -> Host:
    match value:
        case [str(name), str(state), str(step)]:
            return Host(name, HostState(state), step)
    raise ValueError("not a host")


def _check_text(*texts: str) -> None:
    if not all(map(_TEXT.fullmatch, texts)):
        raise ValueError("not a line of printable ASCII")


def _is_der_sequence(data: bytes) -> bool:
    """Whether the data is exactly one DER SEQUENCE, as certificates and keys are."""
    if len(data) < 2 or data[0] != 0x30:
        return False
    if data[1] < 0x80:
        return len(data) == 2 + data[1]
    width = data[1] & 0x7F
    return len(data) == 2 + width + int.from_bytes(data[2 : 2 + width])
