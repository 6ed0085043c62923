"""Match TLSA records against the chain that an MX host sent (RFC 7672 §3), as OpenSSL does it.

Usage 3 is a statement on the host's own certificate: neither its names nor its dates count. Usage 2
names a trust anchor: the path to it, its dates and the name of the host count.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from postfix_mta_sts.mtasts import dane
from postfix_mta_sts.network.smtp.certificates import (
    SentCertificate,
    is_certificate,
    is_public_key,
    is_signed_by,
)
from postfix_mta_sts.network.smtp.names import identity
from postfix_mta_sts.network.smtp.values import Identity, TlsaMatch, TlsaRecord

Paths = Callable[[bytes, bytes, Sequence[bytes]], list[bytes] | str]
"""`tls.path_to`."""

_DANE_EE: Final = 3
_CERTIFICATE: Final = 0
_SPKI: Final = 1
_FULL: Final = 0
_DIGESTS: Final = {1: hashlib.sha256, 2: hashlib.sha512}
"""Matching types (RFC 6698 §2.1.3); the higher one is the stronger one."""


def match_tlsa(
    records: Sequence[TlsaRecord],
    names: Sequence[str],
    chain: Sequence[SentCertificate],
    now: float,
    path_to: Paths,
) -> TlsaMatch:
    """The first record that fits, of usage 3 before usage 2, or why none does.

    `names` is for usage 2; `now` is in epoch seconds.
    """
    usable = _strongest([record for record in records if is_usable(record)])
    if not usable:
        return TlsaMatch(record=None, depth=None, reason="no TLSA record is usable")
    if not chain:
        return TlsaMatch(record=None, depth=None, reason="the host sent no certificate")
    reasons: list[str] = []
    for record in sorted(usable, key=lambda record: -record.usage):
        match = (
            _match_end_entity(record, chain)
            if record.usage == _DANE_EE
            else _match_trust_anchor(record, names, chain, now, path_to)
        )
        if match.record is not None:
            return match
        reasons.append(match.reason)
    return TlsaMatch(record=None, depth=None, reason=reasons[-1])


def is_usable(record: TlsaRecord) -> bool:
    """Whether Postfix uses a record.

    `dane.is_usable` decides for the daemon without a library for certificates; OpenSSL also reads
    the certificate or key that a record has in full.
    """
    try:
        data = bytes.fromhex(record.data)
    except ValueError:
        return False
    if not dane.is_usable(record.usage, record.selector, record.matching, data):
        return False
    if record.matching != _FULL:
        return True
    return is_certificate(data) if record.selector == _CERTIFICATE else is_public_key(data)


def _strongest(records: Sequence[TlsaRecord]) -> list[TlsaRecord]:
    """Without the weaker digests beside stronger ones of one usage and selector (RFC 7671 §9)."""
    best: dict[tuple[int, int], int] = {}
    for record in records:
        key = record.usage, record.selector
        best[key] = max(best.get(key, _FULL), record.matching)
    return [
        record
        for record in records
        if record.matching in {_FULL, best[record.usage, record.selector]}
    ]


def _match_end_entity(record: TlsaRecord, chain: Sequence[SentCertificate]) -> TlsaMatch:
    if _fits(record, chain[0]):
        return TlsaMatch(record=record, depth=0, reason="it is the certificate of the host")
    return _no_match("the certificate of the host is another one")


def _match_trust_anchor(
    record: TlsaRecord,
    names: Sequence[str],
    chain: Sequence[SentCertificate],
    now: float,
    path_to: Paths,
) -> TlsaMatch:
    leaf, untrusted = chain[0], [certificate.der for certificate in chain[1:]]
    reason = "no certificate above that of the host is the trust anchor"
    for anchor, is_bare_key in _anchors(record, chain):
        found = path_to(anchor.der, leaf.der, untrusted)
        if isinstance(found, str):
            reason = f"no path to the trust anchor: {found}"
            continue
        path = [SentCertificate.read(der) for der in found]
        reason = _fault(path, names, now, is_bare_key=is_bare_key)
        if not reason:
            depth = len(path) - 1
            return TlsaMatch(record=record, depth=depth, reason="it is the trust anchor")
    return _no_match(reason)


def _anchors(
    record: TlsaRecord, chain: Sequence[SentCertificate]
) -> Iterator[tuple[SentCertificate, bool]]:
    """Certificates at which a path may end; True: the record has the key that signed it."""
    leaf = chain[0]
    for certificate in chain[1:]:
        if certificate.der != leaf.der and _fits(record, certificate):
            yield certificate, False
    if record.matching != _FULL:
        return
    data = bytes.fromhex(record.data)
    if record.selector == _CERTIFICATE and data != leaf.der:
        yield SentCertificate.read(data), False
    elif record.selector == _SPKI:
        for certificate in chain:
            if is_signed_by(certificate.der, data):
                yield certificate, True


def _fault(
    path: Sequence[SentCertificate], names: Sequence[str], now: float, *, is_bare_key: bool
) -> str:
    """What is wrong with a path that leads to the trust anchor; empty: nothing.

    OpenSSL does not look at the dates of a trust anchor that another CA issued.
    """
    dated = path if is_bare_key or path[-1].is_self_issued else path[:-1]
    for depth, certificate in enumerate(dated):
        if now < certificate.value.not_before:
            return f"the certificate at depth {depth} is not yet valid"
        if now > certificate.value.not_after:
            return f"the certificate at depth {depth} has expired"
    if not path[0].may_do_tls or not all(certificate.is_for_servers for certificate in path):
        return "a certificate is not for TLS servers"
    if identity(names, path[0].value) is Identity.DIFFERS:
        return "the certificate is for other names"
    return ""


def _fits(record: TlsaRecord, certificate: SentCertificate) -> bool:
    selected = certificate.der if record.selector == _CERTIFICATE else certificate.spki
    if selected is None:
        return False
    if record.matching == _FULL:
        return selected.hex() == record.data.lower()
    return _DIGESTS[record.matching](selected).hexdigest() == record.data.lower()


def _no_match(reason: str) -> TlsaMatch:
    return TlsaMatch(record=None, depth=None, reason=reason)
