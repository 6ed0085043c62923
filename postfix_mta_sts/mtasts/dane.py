"""What the signed DNS says of the MX hosts of a domain (RFC 7672).

Pure. `network.dane` queries the DNS and returns a `DaneOutcome`, whose `kind` is what it means for
the domain; `verdict` says how long that is valid.
"""

import enum
import re
from collections.abc import Mapping
from typing import Final

from postfix_mta_sts.values import Value

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
        check_text(self.name, self.step)


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
        check_text(self.step)
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


def check_text(*texts: str) -> None:
    """Raise `ValueError` if a text is not one line of printable ASCII."""
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
