"""What the signed DNS says of a domain's MX hosts (RFC 7672), and how long that is believed.

Border: pure. The DNS is asked elsewhere, what comes of it is a `DaneOutcome`;
`after_verdict` makes
of it the `Verdict` that memory and the store keep. What Postfix is told is a matter of
`postfix.reply`. `lifecycle` stands above this file, so that the timers of a verdict are here;
times are wall-clock seconds since the epoch, handed in.
"""

import enum
import json
import math
import re
from collections.abc import Mapping
from typing import Final

from postfix_mta_sts.values import Value, replace

LIFE_LEAST: Final = 60.0
LIFE_MOST: Final = 24 * 3600.0
"""A verdict is believed for the least TTL that led to it, held between these two."""
RECHECK_SHARE: Final = 0.75
"""After this share of its life a verdict is looked for again, behind the reply."""
FAILURE_RETRY: Final = 30.0
"""A DNS that did not say is asked again after this time."""
HOSTS_MOST: Final = 20
"""MX hosts of one domain that are asked about; Postfix tries five addresses."""

_TTL_MOST: Final = 2**31 - 1  # RFC 2181 §8
_TEXT = re.compile(r"[ -~]{1,2000}")
_DIGEST_LENGTHS: Final[Mapping[int, int]] = {1: 32, 2: 64}  # SHA2-256, SHA2-512


class HostState(enum.StrEnum):
    """What the DNS says of one MX host."""

    USABLE = "usable"
    """Secure TLSA records, and at least one that can authenticate it."""
    UNUSABLE = "unusable"
    """Secure TLSA records, none of them usable: TLS is a must, authentication is not (§2.2)."""
    ABSENT = "absent"
    """Proven to have no TLSA record."""
    INSECURE = "insecure"
    """Its addresses or its TLSA records are not signed, so that DANE says nothing of it."""
    GONE = "gone"
    """Proven to have no address: no mail goes there, whatever else is said of it."""
    SKIPPED = "skipped"
    """Not asked about: it is one of too many."""
    FAILED = "failed"
    """The DNS did not say; Postfix will not use this host under DANE (§2.1.1)."""


class MxState(enum.StrEnum):
    """What the DNS says of the domain's MX RRset, its proven absence included."""

    SECURE = "secure"
    INSECURE = "insecure"
    FAILED = "failed"


class DaneKind(enum.StrEnum):
    """What all that means for the domain."""

    ALL = "all"
    """Every MX host has usable TLSA records."""
    SOME = "some"
    """Some have."""
    UNUSABLE = "unusable"
    """None has, but some host's TLSA records make TLS a must."""
    NONE = "none"
    """The DNS is signed, and there is no DANE."""
    INSECURE = "insecure"
    """The MX RRset is not signed, so that there can be none (§2.2.1)."""
    FAILURE = "failure"
    """The DNS did not say."""


DANE_KINDS: Final = frozenset({DaneKind.ALL, DaneKind.SOME, DaneKind.UNUSABLE})
"""Those in which DANE has a say over how mail goes there."""


class Host(Value, frozen=True):
    """One MX host; `step` is the query that decided, and what came of it. Printable ASCII."""

    name: str
    state: HostState
    step: str

    def __post_init__(self) -> None:
        _check_text(self.name, self.step)


class DaneOutcome(Value, frozen=True):
    """What was found when the DNS was asked; `ValueError` for what cannot be found."""

    mx: MxState
    step: str
    """What came of the MX query, as printable ASCII."""
    hosts: tuple[Host, ...] = ()
    """In the order of their preference; none for a domain that takes no mail (RFC 7505)."""
    ttl: int = 0
    """Seconds: the least of all answers."""

    def __post_init__(self) -> None:
        _check_text(self.step)
        if self.hosts and self.mx is not MxState.SECURE:
            raise ValueError("hosts are only asked about where the MX RRset is signed")
        if not 0 <= self.ttl <= _TTL_MOST:
            raise ValueError("not a TTL")

    @property
    def kind(self) -> DaneKind:
        """What it means for the domain.

        One host that can be authenticated makes it a DANE domain, also where others failed:
        Postfix asks for itself, and passes over a host whose answer fails. Without one, a failure
        leaves everything open.
        """
        if self.mx is not MxState.SECURE:
            return DaneKind.INSECURE if self.mx is MxState.INSECURE else DaneKind.FAILURE
        states = {host.state for host in self.hosts} - {HostState.GONE}
        if HostState.USABLE in states:
            return DaneKind.ALL if len(states) == 1 else DaneKind.SOME
        if HostState.FAILED in states:
            return DaneKind.FAILURE
        return DaneKind.UNUSABLE if HostState.UNUSABLE in states else DaneKind.NONE

    @property
    def is_whole(self) -> bool:
        """Whether the DNS answered all that it was asked."""
        failed = any(host.state is HostState.FAILED for host in self.hosts)
        return self.mx is not MxState.FAILED and not failed

    @property
    def reason(self) -> str:
        """The step, and the name, that made it this kind."""
        return next((host.step for host in self.hosts if self._decides(host)), self.step)

    def _decides(self, host: Host) -> bool:
        match self.kind:
            case DaneKind.SOME:
                return host.state not in {HostState.USABLE, HostState.GONE}
            case DaneKind.FAILURE:
                return host.state is HostState.FAILED
            case DaneKind.UNUSABLE:
                return host.state is HostState.UNUSABLE
        return host.state is not HostState.GONE


class Verdict(Value, frozen=True):
    """What is believed of a domain, and until when."""

    outcome: DaneOutcome
    found_at: float
    recheck_at: float
    """When the DNS is to be asked again, by whoever asks."""
    until: float
    """When it is forgotten: the next look-up waits for the DNS."""
    failure: str | None = None
    """Why the DNS could not be asked again since, if so. Printable ASCII."""

    def __post_init__(self) -> None:
        if self.failure is not None:
            _check_text(self.failure)
        if not all(map(math.isfinite, (self.found_at, self.recheck_at, self.until))):
            raise ValueError("a time is not a finite number")
        if self.recheck_at > self.until:
            raise ValueError("a verdict is looked for again before it is forgotten")

    @property
    def kind(self) -> DaneKind:
        """What it means for the domain."""
        return self.outcome.kind

    @property
    def reason(self) -> str:
        """The step that gave it."""
        return self.outcome.reason

    @property
    def mx_is_secure(self) -> bool:
        """Whether the MX RRset was proven, whatever came after it."""
        return self.outcome.mx is MxState.SECURE


def is_usable(usage: int, selector: int, matching: int, data: bytes) -> bool:
    """Whether a TLSA record can authenticate an MX host (RFC 7672 §3.1, RFC 6698 §2.1).

    PKIX-TA(0) and PKIX-EE(1) cannot: for SMTP there is no set of CAs that both sides agree on,
    and Postfix passes over them too.
    """
    if usage not in {2, 3} or selector not in {0, 1}:
        return False
    if matching == 0:
        return _is_der_sequence(data)
    return len(data) == _DIGEST_LENGTHS.get(matching)


def after_verdict(before: Verdict | None, outcome: DaneOutcome, now: float) -> Verdict:
    """The verdict after the DNS was asked.

    A failure takes back nothing that was said before, until that has run out (RFC 7672 §2.1.1);
    in the face of a clock that was set back, in a day at most.
    """
    failed = outcome.kind is DaneKind.FAILURE
    if failed and before and is_live(before, now) and before.kind is not DaneKind.FAILURE:
        until = min(before.until, now + LIFE_MOST)
        again = min(now + FAILURE_RETRY, until)
        return replace(before, recheck_at=again, until=until, failure=outcome.reason)
    if failed:
        return Verdict(outcome, now, now + FAILURE_RETRY, now + FAILURE_RETRY)
    life = min(max(outcome.ttl, LIFE_LEAST), LIFE_MOST) if outcome.is_whole else LIFE_LEAST
    return Verdict(outcome, now, now + RECHECK_SHARE * life, now + life)


def is_live(verdict: Verdict | None, now: float) -> bool:
    """Whether there is a verdict to answer by; else a look-up waits for one.

    One from the future (the clock was set back) is, unless it is a failure.
    """
    if verdict is None or now >= verdict.until:
        return False
    return now >= verdict.found_at or verdict.kind is not DaneKind.FAILURE


def is_due(verdict: Verdict | None, now: float) -> bool:
    """Whether the DNS is to be asked, behind the reply if the verdict is live."""
    return verdict is None or now >= verdict.recheck_at or now < verdict.found_at


def to_text(verdict: Verdict) -> str:
    """The verdict as one line of JSON in printable ASCII, for the store."""
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
    """The verdict of which this is the text, to the letter; None for any other text."""
    try:
        verdict = _verdict(json.loads(text))
    except (ValueError, RecursionError):
        return None
    return verdict if to_text(verdict) == text else None


def _verdict(value: object) -> Verdict:
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
            outcome = DaneOutcome(MxState(mx), step, tuple(map(_host, hosts)), ttl)
            return Verdict(outcome, found_at, recheck_at, until, failure)
    raise ValueError("not a verdict")


def _host(value: object) -> Host:
    match value:
        case [str(name), str(state), str(step)]:
            return Host(name, HostState(state), step)
    raise ValueError("not a host")


def _check_text(*texts: str) -> None:
    if not all(map(_TEXT.fullmatch, texts)):
        raise ValueError("not a line of printable ASCII")


def _is_der_sequence(data: bytes) -> bool:
    """Whether this is one DER SEQUENCE and nothing else, as a certificate and a key are."""
    if len(data) < 2 or data[0] != 0x30:
        return False
    if data[1] < 0x80:
        return len(data) == 2 + data[1]
    width = data[1] & 0x7F
    return len(data) == 2 + width + int.from_bytes(data[2 : 2 + width])
