"""A throw-away certificate authority that issues valid and invalid certificates.

`Authority().issue("mta-sts.good.test", valid=EXPIRED)` makes a `Credential`, whose
`server_context()` is for a server; `Authority().write(tmp_path)` makes the CA file for the client.
"""

import datetime as dt
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Days = tuple[int, int]
"""Start and end of the validity, in days from now."""

VALID: Final[Days] = (-1, 90)
EXPIRED: Final[Days] = (-90, -1)
NOT_YET_VALID: Final[Days] = (1, 90)


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and its private key in PEM."""

    certificate: bytes
    key: bytes

    def server_context(
        self,
        *,
        minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
        maximum: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
        ciphers: str = "",
    ) -> ssl.SSLContext:
        """A TLS context for a server with this certificate, also a weak one at `@SECLEVEL=0`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if ciphers:
            context.set_ciphers(ciphers)
        context.minimum_version = minimum
        context.maximum_version = maximum
        with tempfile.TemporaryDirectory() as folder:
            context.load_cert_chain(*self.write(Path(folder)))
        return context

    def followed_by(self, *certificates: bytes) -> "Credential":
        """The same credential, sent with more certificates (PEM) in this order."""
        return Credential(b"".join([self.certificate, *certificates]), self.key)

    def write(self, folder: Path, stem: str = "server") -> tuple[Path, Path]:
        """Write the files `STEM.crt` and `STEM.key` into a folder."""
        certificate, key = folder / f"{stem}.crt", folder / f"{stem}.key"
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.key)
        return certificate, key


_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """A CA that only clients with its `certificate` (PEM) trust; with an issuer, not even those."""

    def __init__(
        self, name: str = "Test CA", issuer: Self | None = None, *, valid: Days = VALID
    ) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        signer = issuer or self
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(self._name, signer._name, self._key.public_key(), valid)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(signer._key, hashes.SHA256())
        )
        self.certificate: Final = certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, folder: Path) -> Path:
        """Write the file `ca.pem` into a folder."""
        path = folder / "ca.pem"
        path.write_bytes(self.certificate)
        return path

    def issue(
        self,
        *names: str,
        addresses: tuple[str, ...] = (),
        common_name: str = "",
        valid: Days = VALID,
        key: _Key | None = None,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    ) -> Credential:
        """Issue a certificate for DNS names (also wildcards) and IP addresses, all as SAN.

        Without names and addresses it has no SAN, only a common name; without a key, one of P-256.
        """
        leaf = _Leaf.make(names, addresses, common_name, valid, self._name, key, purpose)
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return leaf.signed(leaf.builder.add_extension(aki, critical=False), self._key)


def self_signed(*names: str, valid: Days = VALID) -> Credential:
    """Make a self-signed certificate for DNS names."""
    leaf = _Leaf.make(names, (), "", valid, None)
    return leaf.signed(leaf.builder, leaf.key)


@dataclass(frozen=True, slots=True)
class _Leaf:
    key: _Key
    builder: x509.CertificateBuilder

    @classmethod
    def make(
        cls,
        names: tuple[str, ...],
        addresses: tuple[str, ...],
        common_name: str,
        valid: Days,
        issuer: x509.Name | None,
        key: _Key | None = None,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    ) -> Self:
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = _name(common_name or "nobody")
        sans: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        sans += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        usage = x509.ExtendedKeyUsage([purpose])
        builder = _builder(subject, issuer or subject, key.public_key(), valid).add_extension(
            usage, critical=False
        )
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        return cls(key, builder)

    def signed(self, builder: x509.CertificateBuilder, issuer_key: _Key) -> Credential:
        certificate = builder.sign(issuer_key, hashes.SHA256())
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Credential(certificate.public_bytes(serialization.Encoding.PEM), key)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    valid: Days,
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    ski = x509.SubjectKeyIdentifier.from_public_key(key)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=valid[0]))
        .not_valid_after(now + dt.timedelta(days=valid[1]))
        .add_extension(ski, critical=False)
    )
