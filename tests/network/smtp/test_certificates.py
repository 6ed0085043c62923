"""The fields of certificates, as far as Postfix looks at them."""

import datetime as dt
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.network.smtp.certificates import (
    SentCertificate,
    is_certificate,
    is_public_key,
    is_signed_by,
)

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
_EC = ec.generate_private_key(ec.SECP256R1())
_RSA = rsa.generate_private_key(65537, 2048)
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def make(
    common_names: list[str],
    *extensions: x509.ExtensionType,
    key: Key | None = None,
    rsa_padding: padding.PSS | None = None,
) -> bytes:
    """A self-signed certificate in DER."""
    key = key or _EC
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text) for text in common_names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(START + dt.timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest, rsa_padding=rsa_padding).public_bytes(Encoding.DER)


def names(*dns_names: str) -> x509.SubjectAlternativeName:
    """The extension with these DNS names."""
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names])


def test_fields() -> None:
    """Names, dates and digest are reported."""
    der = make(["mx"], names("MX1.x.test", "*.x.test"))
    sent = SentCertificate.read(der)
    assert sent.value.subject == sent.value.issuer == "CN=mx"
    assert sent.value.dns_names == ("mx1.x.test", "*.x.test")
    assert sent.value.not_before == START.timestamp()
    assert sent.value.not_after == START.timestamp() + 86_400
    assert sent.value.sha256 == hashlib.sha256(der).hexdigest()
    assert sent.is_self_issued


@pytest.mark.parametrize(
    ("common_names", "extensions", "expected"),
    [
        (["mx.test"], [], "mx.test"),
        (["a.test", "b.test"], [], "b.test"),
        (["mx.test"], [names("other.test")], None),
        (["mx.test"], [names("other.test\0.x.test")], None),
        (["mx.test"], [x509.SubjectAlternativeName([x509.RFC822Name("a@b.test")])], "mx.test"),
        (["b\u00fccher.test"], [], None),
        (["mx.test\0.evil.test"], [], None),
        ([], [], None),
    ],
)
def test_common_name(
    common_names: list[str], extensions: list[x509.ExtensionType], expected: str | None
) -> None:
    """It counts only without DNS names, even without ones that are not valid."""
    value = SentCertificate.read(make(common_names, *extensions)).value
    assert value.common_name == expected


def test_a_hidden_name() -> None:
    """A DNS name with a NUL byte is left out: it must not look like the part before."""
    value = SentCertificate.read(make([], names("mx.test\0.evil.test", "ok.test"))).value
    assert value.dns_names == ("ok.test",)


def test_terminal_codes_in_names() -> None:
    """Names of a certificate are shown as printable ASCII."""
    value = SentCertificate.read(make(["\x1b[31mevil\u2028"])).value
    assert value.subject.isascii()
    assert value.subject.isprintable()


@pytest.mark.parametrize(
    ("purposes", "expected"),
    [
        ([], True),
        ([ExtendedKeyUsageOID.SERVER_AUTH], True),
        ([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH], True),
        ([ExtendedKeyUsageOID.CLIENT_AUTH], False),
        ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], False),
    ],
)
def test_purposes(purposes: list[x509.ObjectIdentifier], *, expected: bool) -> None:
    """An extended key usage must name TLS servers."""
    extensions = [x509.ExtendedKeyUsage(purposes)] if purposes else []
    assert SentCertificate.read(make(["mx"], *extensions)).is_for_servers is expected


@pytest.mark.parametrize("may", [True, False])
def test_key_usage(*, may: bool) -> None:
    """A key usage must admit TLS."""
    usage = x509.KeyUsage(
        digital_signature=may,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    assert SentCertificate.read(make(["mx"], usage)).may_do_tls is may


@given(st.binary(max_size=200))
def test_any_bytes(der: bytes) -> None:
    """What is no certificate has a digest and no names."""
    sent = SentCertificate.read(der)
    assert sent.value.subject.startswith("not readable: ")
    assert sent.value.sha256 == hashlib.sha256(der).hexdigest()
    assert not is_certificate(der)
    assert not is_public_key(der)
    assert not is_signed_by(der, der)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(b"\x02\x01\x01", b"\x02\x01\x00"), (b"\x55\x04\x03", b"\x55\x04\x06")],
    ids=["serial number 0", "a country of three letters"],
)
def test_warnings_of_the_library(right: bytes, wrong: bytes) -> None:
    """What the library warns of is read all the same, and in silence."""
    der = make(["abc"]).replace(right, wrong)
    assert SentCertificate.read(der).value.subject in {"CN=abc", "C=abc"}
    assert is_certificate(der)
    assert not is_signed_by(der, b"")


@given(st.data())
def test_a_damaged_certificate(data: st.DataObject) -> None:
    """A certificate with any byte changed is readable or not, and raises nothing."""
    der = bytearray(_GOOD)
    der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    sent = SentCertificate.read(bytes(der))
    assert sent.value.subject.isascii()
    is_signed_by(bytes(der), sent.spki or b"")


@pytest.mark.parametrize(
    ("key", "rsa_padding"),
    [
        (_EC, None),
        (_RSA, None),
        (_RSA, padding.PSS(padding.MGF1(hashes.SHA256()), 32)),
        (ed25519.Ed25519PrivateKey.generate(), None),
    ],
)
def test_signatures(key: Key, rsa_padding: padding.PSS | None) -> None:
    """The key that signed a certificate is told from others, also from those of other kinds."""
    der = make(["mx"], key=key, rsa_padding=rsa_padding)
    spki = SentCertificate.read(der).spki
    assert spki == key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert is_signed_by(der, spki)
    for other in (_EC, _RSA):
        other_spki = SentCertificate.read(make(["mx"], key=other)).spki
        assert other_spki
        assert is_signed_by(der, other_spki) is (key is other)


_GOOD = make(["mx"], names("mx.test"), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]))
