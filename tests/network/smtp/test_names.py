"""Names are compared with certificates as OpenSSL does it."""

import pytest
from cryptography import x509
from hypothesis import example, given
from hypothesis import strategies as st

from postfix_mta_sts.network.smtp.names import identity, matches_dns_name
from postfix_mta_sts.network.smtp.values import Certificate, Identity
from tests.support.openssl import LibCrypto
from tests.support.tls import Authority

_AUTHORITY = Authority()
_LABELS = ["*", "x", "test", "a", "A-b", "-c", "d-", "e--f", "_g", "xn--h", "i*", "*j", "", "**"]
_NAMES = st.lists(st.sampled_from(_LABELS), max_size=5).map(".".join)


@pytest.fixture(scope="module")
def libcrypto() -> LibCrypto:
    """OpenSSL of the system."""
    return LibCrypto()


@given(_NAMES, _NAMES)
@example(".x.test", "*.x.test")
@example(".x.test", "a.b.x.test")
@example(".x.test", ".x.test")
@example(".test", "*.test")
@example("a.x.test", "*.x.test")
@example("a.b.x.test", "*.x.test")
@example("a.test", "*.test")
@example("*.x.test", "*.x.test")
@example("xn--h.x.test", "*.x.test")
@example("_g.x.test", "*.x.test")
@example("a._g.x.test", "*._g.x.test")
@example("*._g.x.test", "*._g.x.test")
@example("A.X.test", "a.x.TEST")
@example("x.test.", "x.test")
@example(".", "x.test.")
def test_openssl_says_the_same(libcrypto: LibCrypto, reference: str, presented: str) -> None:
    """A name of a certificate fits a reference if OpenSSL says so."""
    if not reference or not presented:
        return  # OpenSSL takes an empty reference as "no check", and x509 makes no empty name
    certificate = x509.load_pem_x509_certificate(_AUTHORITY.issue(presented).certificate)
    expected = libcrypto.fits(certificate, reference)
    assert matches_dns_name(reference, presented) is expected


@pytest.mark.parametrize(
    ("reference", "presented", "fits"),
    [
        ("mx.x.test", "mx.x.test", True),
        ("mx.x.test", "MX.X.test", True),
        ("mx.x.test", "*.x.test", True),
        ("a.mx.x.test", "*.x.test", False),
        ("x.test", "*.x.test", False),
        ("x.test", "*.test", False),
        ("mx.x.test", "m*.x.test", False),
        (".x.test", "mx.x.test", True),
        (".x.test", "a.mx.x.test", True),
        (".x.test", "*.x.test", True),
        (".x.test", "x.test", False),
        (".x.test", "*.test", False),
        ("mx.x.test", "mx.x.test\0.evil.test", False),
        (".evil.test", "mx.x.test\0.evil.test", False),
        ("b\u00fccher.test", "b\u00fccher.test", False),
        ("", "", False),
    ],
)
def test_references(reference: str, presented: str, *, fits: bool) -> None:
    """A reference with a leading dot fits each subdomain; a star is one whole label."""
    assert matches_dns_name(reference, presented) is fits


@pytest.mark.parametrize(
    ("dns_names", "common_name", "expected"),
    [
        (("mx.x.test",), None, Identity.FITS),
        (("other.test", "*.x.test"), None, Identity.FITS),
        (("other.test",), None, Identity.DIFFERS),
        ((), "mx.x.test", Identity.COMMON_NAME),
        ((), "*.x.test", Identity.COMMON_NAME),
        ((), "other.test", Identity.DIFFERS),
        ((), None, Identity.DIFFERS),
    ],
)
def test_identity(dns_names: tuple[str, ...], common_name: str | None, expected: Identity) -> None:
    """One of several references is enough; the common name is told apart from DNS names."""
    certificate = Certificate(
        subject="CN=mx",
        issuer="CN=CA",
        common_name=common_name,
        dns_names=dns_names,
        not_before=0,
        not_after=1,
        sha256="00",
    )
    assert identity(["unrelated.test", "mx.x.test"], certificate) is expected
