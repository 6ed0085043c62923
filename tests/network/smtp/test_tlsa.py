"""TLSA records fit a chain where OpenSSL says so.

The expected results were compared with those of `openssl s_client -dane_tlsa_rrdata`, 3.0.
"""

import time
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.network.smtp.certificates import SentCertificate
from postfix_mta_sts.network.smtp.tls import path_to
from postfix_mta_sts.network.smtp.tlsa import is_usable, match_tlsa
from postfix_mta_sts.network.smtp.values import TlsaMatch, TlsaRecord
from tests.support.tls import EXPIRED, NOT_YET_VALID, Authority, Credential, self_signed
from tests.support.tlsa import tlsa_record

NAME: Final = "mx.test"


def match(credential: Credential, *records: TlsaRecord, name: str = NAME) -> TlsaMatch:
    """How records fit what a host sends."""
    chain = [
        SentCertificate.read(certificate.public_bytes(Encoding.DER))
        for certificate in x509.load_pem_x509_certificates(credential.certificate)
    ]
    return match_tlsa(records, [name], chain, time.time(), path_to)


ROOT: Final = Authority("root")
BETWEEN: Final = Authority("between", ROOT)
OTHER: Final = Authority("other")
OLD_ROOT: Final = Authority("old root", valid=EXPIRED)
OLD_BETWEEN: Final = Authority("old between", ROOT, valid=EXPIRED)

LEAF: Final = BETWEEN.issue(NAME)
PART: Final = LEAF.followed_by(BETWEEN.certificate)
WHOLE: Final = PART.followed_by(ROOT.certificate)
SELF_SIGNED: Final = self_signed(NAME)
OLD_LEAF: Final = BETWEEN.issue(NAME, valid=EXPIRED).followed_by(BETWEEN.certificate)
NEW_LEAF: Final = BETWEEN.issue(NAME, valid=NOT_YET_VALID).followed_by(BETWEEN.certificate)
FOR_CLIENTS: Final = BETWEEN.issue(NAME, purpose=ExtendedKeyUsageOID.CLIENT_AUTH).followed_by(
    BETWEEN.certificate
)
BELOW_OLD_ROOT: Final = OLD_ROOT.issue(NAME)
BELOW_OLD_BETWEEN: Final = OLD_BETWEEN.issue(NAME).followed_by(OLD_BETWEEN.certificate)


class TestEndEntity:
    """Usage 3: the host's own certificate."""

    @pytest.mark.parametrize("selector", [0, 1])
    @pytest.mark.parametrize("matching", [0, 1, 2])
    def test_all_forms(self, selector: int, matching: int) -> None:
        """All selectors and matching types are understood."""
        good = tlsa_record(3, selector, matching, LEAF.certificate)
        assert match(WHOLE, good) == TlsaMatch(
            record=good, depth=0, reason="it is the certificate of the host"
        )
        bad = tlsa_record(3, selector, matching, BETWEEN.certificate)
        assert match(WHOLE, bad) == TlsaMatch(
            record=None, depth=None, reason="the certificate of the host is another one"
        )

    @pytest.mark.parametrize("credential", [OLD_LEAF, FOR_CLIENTS, SELF_SIGNED])
    def test_nothing_else_counts(self, credential: Credential) -> None:
        """Neither dates, purpose nor names count (RFC 7672 §3.1.1)."""
        fits = match(credential, tlsa_record(3, 1, 1, credential.certificate), name="other.test")
        assert fits.depth == 0

    def test_upper_case(self) -> None:
        """Digits of a record may be in upper case."""
        good = tlsa_record(3, 1, 1, LEAF.certificate)
        upper = TlsaRecord(usage=3, selector=1, matching=1, data=good.data.upper())
        assert match(LEAF, upper).record == upper


class TestTrustAnchor:
    """Usage 2: an authority above the host's certificate."""

    @pytest.mark.parametrize("selector", [0, 1])
    @pytest.mark.parametrize("matching", [0, 1, 2])
    @pytest.mark.parametrize(("authority", "depth"), [(ROOT, 2), (BETWEEN, 1)])
    def test_all_forms(
        self, selector: int, matching: int, authority: Authority, depth: int
    ) -> None:
        """All selectors and matching types are understood."""
        good = tlsa_record(2, selector, matching, authority.certificate)
        assert match(WHOLE, good) == TlsaMatch(
            record=good, depth=depth, reason="it is the trust anchor"
        )
        bad = tlsa_record(2, selector, matching, OTHER.certificate)
        assert match(WHOLE, bad).record is None

    @pytest.mark.parametrize(
        ("credential", "selector", "authority", "depth"),
        [
            (PART, 0, ROOT, 2),
            (PART, 1, ROOT, 1),
            (LEAF, 0, BETWEEN, 1),
            (LEAF, 1, BETWEEN, 0),
            (BELOW_OLD_ROOT, 1, OLD_ROOT, 0),
        ],
    )
    def test_not_sent(
        self, credential: Credential, selector: int, authority: Authority, depth: int
    ) -> None:
        """The record itself may contain the certificate or the key that was not sent."""
        assert match(credential, tlsa_record(2, selector, 0, authority.certificate)).depth == depth
        assert match(credential, tlsa_record(2, selector, 1, authority.certificate)).depth is None

    def test_any_order(self) -> None:
        """The order in which certificates were sent does not matter."""
        rest = [ROOT.certificate, OTHER.certificate, BETWEEN.certificate]
        assert match(LEAF.followed_by(*rest), tlsa_record(2, 0, 1, ROOT.certificate)).depth == 2

    def test_sent_but_unrelated(self) -> None:
        """An authority that was sent, and did not issue the certificate, is no trust anchor."""
        sent = PART.followed_by(OTHER.certificate)
        assert match(sent, tlsa_record(2, 0, 1, OTHER.certificate)) == TlsaMatch(
            record=None,
            depth=None,
            reason="no path to the trust anchor: unable to get local issuer certificate",
        )

    @pytest.mark.parametrize("matching", [0, 1])
    def test_the_own_certificate_is_none(self, matching: int) -> None:
        """The host's own certificate is no trust anchor, even if it signed itself."""
        twice = SELF_SIGNED.followed_by(SELF_SIGNED.certificate)
        for sent in (SELF_SIGNED, twice):
            assert match(sent, tlsa_record(2, 0, matching, SELF_SIGNED.certificate)).record is None
        assert match(WHOLE, tlsa_record(2, 0, matching, LEAF.certificate)).record is None
        assert match(SELF_SIGNED, tlsa_record(2, 1, 1, SELF_SIGNED.certificate)).record is None
        assert match(SELF_SIGNED, tlsa_record(2, 1, 0, SELF_SIGNED.certificate)).depth == 0

    @pytest.mark.parametrize(
        ("credential", "authority", "reason"),
        [
            (OLD_LEAF, BETWEEN, "the certificate at depth 0 has expired"),
            (NEW_LEAF, BETWEEN, "the certificate at depth 0 is not yet valid"),
            (
                BELOW_OLD_BETWEEN.followed_by(ROOT.certificate),
                ROOT,
                "the certificate at depth 1 has expired",
            ),
            (
                BELOW_OLD_ROOT.followed_by(OLD_ROOT.certificate),
                OLD_ROOT,
                "the certificate at depth 1 has expired",
            ),
            (FOR_CLIENTS, BETWEEN, "a certificate is not for TLS servers"),
            (BETWEEN.issue("other.test"), BETWEEN, "the certificate is for other names"),
        ],
    )
    def test_the_path_must_be_good(
        self, credential: Credential, authority: Authority, reason: str
    ) -> None:
        """Dates, purposes and names up to the trust anchor count (RFC 7672 §3.1.2)."""
        assert match(credential, tlsa_record(2, 0, 0, authority.certificate)).reason == reason

    def test_an_expired_trust_anchor(self) -> None:
        """OpenSSL does not look at the dates of a trust anchor that another CA issued."""
        good = tlsa_record(2, 0, 1, OLD_BETWEEN.certificate)
        assert match(BELOW_OLD_BETWEEN, good).depth == 1

    @pytest.mark.parametrize(
        "credential", [BETWEEN.issue(common_name=NAME), BETWEEN.issue("*.test", NAME)]
    )
    def test_names(self, credential: Credential) -> None:
        """A common name is enough, as it is for OpenSSL."""
        assert match(credential, tlsa_record(2, 0, 0, BETWEEN.certificate)).depth == 1


class TestSeveral:
    """Records of one host together."""

    def test_one_is_enough(self) -> None:
        """One record that fits is enough; usage 3 comes first."""
        good = tlsa_record(3, 1, 1, LEAF.certificate)
        anchor, wrong = (
            tlsa_record(2, 1, 1, ROOT.certificate),
            tlsa_record(3, 0, 1, ROOT.certificate),
        )
        assert match(WHOLE, anchor, wrong, good).record == good
        assert match(WHOLE, wrong, anchor).record == anchor
        assert match(WHOLE, good, tlsa_record(2, 1, 1, OTHER.certificate)).record == good

    def test_the_strongest_digest_counts(self) -> None:
        """A weaker digest of the same usage and selector is ignored (RFC 7671 §9)."""
        good, wrong = LEAF.certificate, BETWEEN.certificate
        assert match(WHOLE, tlsa_record(3, 1, 1, good), tlsa_record(3, 1, 2, wrong)).record is None
        assert match(WHOLE, tlsa_record(3, 1, 1, wrong), tlsa_record(3, 1, 2, good)).depth == 0
        assert match(WHOLE, tlsa_record(3, 0, 1, good), tlsa_record(3, 1, 2, wrong)).depth == 0
        assert match(WHOLE, tlsa_record(3, 1, 0, good), tlsa_record(3, 1, 2, wrong)).depth == 0

    def test_none_is_usable(self) -> None:
        """Without a usable record there is no match, and that is said."""
        unusable = tlsa_record(1, 1, 1, LEAF.certificate)
        assert match(WHOLE, unusable).reason == "no TLSA record is usable"
        assert match(WHOLE, unusable, tlsa_record(3, 1, 1, LEAF.certificate)).depth == 0

    def test_an_unreadable_certificate(self) -> None:
        """A certificate whose key cannot be read fits no record for a key."""
        chain = [SentCertificate.read(b"unreadable")]
        for selector in (0, 1):
            wanted = tlsa_record(3, selector, 1, LEAF.certificate)
            assert match_tlsa([wanted], [NAME], chain, 0.0, path_to).record is None

    def test_no_certificate(self) -> None:
        """A host without a certificate fits nothing."""
        found = match_tlsa([tlsa_record(3, 1, 1, LEAF.certificate)], [NAME], [], 0.0, path_to)
        assert found.reason == "the host sent no certificate"


@pytest.mark.parametrize(
    ("usage", "selector", "matching", "data", "usable"),
    [
        (3, 1, 1, "00" * 32, True),
        (2, 0, 2, "00" * 64, True),
        (0, 1, 1, "00" * 32, False),
        (1, 1, 1, "00" * 32, False),
        (4, 1, 1, "00" * 32, False),
        (3, 2, 1, "00" * 32, False),
        (3, 1, 3, "00" * 32, False),
        (3, 1, 255, "00" * 32, False),
        (3, 1, 1, "00" * 31, False),
        (3, 1, 2, "00" * 32, False),
        (3, 1, 1, "x" * 64, False),
        (3, 1, 1, "0" * 63, False),
        (3, 0, 0, "00" * 32, False),
        (3, 1, 0, "00" * 32, False),
        (3, 1, 0, "", False),
    ],
)
def test_usable(usage: int, selector: int, matching: int, data: str, *, usable: bool) -> None:
    """Records that SMTP does not know, or that are malformed, are not usable (RFC 7672 §3.1.3)."""
    found = TlsaRecord(usage=usage, selector=selector, matching=matching, data=data)
    assert is_usable(found) is usable


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.text(max_size=130))
def test_any_record(usage: int, selector: int, matching: int, data: str) -> None:
    """No record raises an error."""
    found = TlsaRecord(usage=usage, selector=selector, matching=matching, data=data)
    assert match(PART, found).record is None
