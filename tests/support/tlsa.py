"""TLSA records for certificates."""

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from postfix_mta_sts.network.smtp.values import TlsaRecord

_MATCHING: Final[Mapping[int, Callable[[bytes], bytes]]] = MappingProxyType(
    {
        0: bytes,
        1: lambda data: hashlib.sha256(data).digest(),
        2: lambda data: hashlib.sha512(data).digest(),
    }
)


def tlsa_record(usage: int, selector: int, matching: int, pem: bytes) -> TlsaRecord:
    """A record for the first certificate in some PEM (RFC 6698 §2.1)."""
    certificate = x509.load_pem_x509_certificate(pem)
    selected = (
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if selector
        else certificate.public_bytes(Encoding.DER)
    )
    data = _MATCHING[matching](selected)
    return TlsaRecord(usage=usage, selector=selector, matching=matching, data=data.hex())
