"""Read the fields of certificates, and check a signature by a bare key.

This is the only file that imports cryptography. It takes certificates as DER, because OpenSSL
accepts some that cryptography refuses: nothing is known of those but their digest.
"""

import hashlib
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.network.smtp.values import Certificate

_SERVER_PURPOSES: Final = {
    ExtendedKeyUsageOID.SERVER_AUTH,
    x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),  # Microsoft's Server Gated Crypto
    x509.ObjectIdentifier("2.16.840.1.113730.4.1"),  # Netscape's
}
"""Extended key usages of which one is enough for OpenSSL's purpose `sslserver`."""

_NOT_READABLE: Final = (
    KeyError,  # an unknown type of string, in cryptography 44
    TypeError,
    UnsupportedAlgorithm,
    ValueError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for bytes that it does not understand."""


_in_silence: Final = partial(warnings.catch_warnings, action="ignore")
"""cryptography warns of some certificates that it reads, and Python prints that to the terminal."""


@dataclass(frozen=True, slots=True)
class SentCertificate:
    """A certificate of a chain, or of a TLSA record."""

    der: bytes
    value: Certificate
    spki: bytes | None
    """Its public key as SubjectPublicKeyInfo in DER; None: not readable."""
    is_self_issued: bool
    is_for_servers: bool
    """Whether its extended key usage, if it has one, admits TLS servers."""
    may_do_tls: bool
    """Whether its key usage, if it has one, admits TLS."""

    @classmethod
    def read(cls, der: bytes) -> Self:
        """Read a certificate; never raises."""
        try:
            with _in_silence():
                return cls._read(der)
        except _NOT_READABLE as error:
            return cls(
                der,
                _unreadable(der, error),
                spki=None,
                is_self_issued=False,
                is_for_servers=False,
                may_do_tls=False,
            )

    @classmethod
    def _read(cls, der: bytes) -> Self:
        certificate = x509.load_der_x509_certificate(der)
        return cls(
            der,
            _value(certificate, der),
            spki=_spki(certificate),
            is_self_issued=certificate.subject == certificate.issuer,
            is_for_servers=_is_for_servers(certificate.extensions),
            may_do_tls=_may_do_tls(certificate.extensions),
        )


def is_certificate(der: bytes) -> bool:
    """Whether these bytes are a certificate."""
    try:
        with _in_silence():
            x509.load_der_x509_certificate(der)
    except _NOT_READABLE:
        return False
    return True


def is_public_key(spki: bytes) -> bool:
    """Whether these bytes are a SubjectPublicKeyInfo."""
    try:
        with _in_silence():
            load_der_public_key(spki)
    except _NOT_READABLE:
        return False
    return True


def is_signed_by(der: bytes, spki: bytes) -> bool:
    """Whether a certificate was signed with the private key of a public one."""
    try:
        with _in_silence():
            _verify(x509.load_der_x509_certificate(der), spki)
    except (InvalidSignature, *_NOT_READABLE):
        return False
    return True


def _verify(certificate: x509.Certificate, spki: bytes) -> None:
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    parameters, digest = (
        certificate.signature_algorithm_parameters,
        certificate.signature_hash_algorithm,
    )
    match load_der_public_key(spki), parameters:
        case rsa.RSAPublicKey() as key, padding.PKCS1v15() | padding.PSS() if digest:
            key.verify(signature, signed, parameters, digest)
        case ec.EllipticCurvePublicKey() as key, ec.ECDSA():
            key.verify(signature, signed, parameters)
        case (ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey()) as key, None:
            key.verify(signature, signed)
        case _:
            raise InvalidSignature


def _value(certificate: x509.Certificate, der: bytes) -> Certificate:
    dns_names = _dns_names(certificate.extensions)
    return Certificate(
        subject=_shown(certificate.subject),
        issuer=_shown(certificate.issuer),
        common_name=_common_name(certificate.subject) if dns_names is None else None,
        dns_names=tuple(name.lower() for name in dns_names or () if _is_comparable(name)),
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
        sha256=hashlib.sha256(der).hexdigest(),
    )


def _unreadable(der: bytes, error: Exception) -> Certificate:
    return Certificate(
        subject=f"not readable: {printable(str(error))}",
        issuer="",
        common_name=None,
        dns_names=(),
        not_before=0,
        not_after=0,
        sha256=hashlib.sha256(der).hexdigest(),
    )


def _shown(name: x509.Name) -> str:
    return printable(name.rfc4514_string())


def _common_name(subject: x509.Name) -> str | None:
    names = [
        str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    return names[-1] if names and _is_comparable(names[-1]) else None


def _dns_names(extensions: x509.Extensions) -> list[str] | None:
    """The DNS names; None: there are none at all, so that the common name counts."""
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    return names.value.get_values_for_type(x509.DNSName) or None


def _is_comparable(name: str) -> bool:
    """Whether a name can fit one that Postfix compares it with, and can be shown as it is."""
    return name != "" and printable(name, len(name)) == name


def _spki(certificate: x509.Certificate) -> bytes | None:
    try:
        key = certificate.public_key()
    except _NOT_READABLE:
        return None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _is_for_servers(extensions: x509.Extensions) -> bool:
    try:
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return True
    return not _SERVER_PURPOSES.isdisjoint(usage.value)


def _may_do_tls(extensions: x509.Extensions) -> bool:
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return usage.digital_signature or usage.key_encipherment or usage.key_agreement
