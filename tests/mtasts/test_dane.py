"""DANE: what the states of the MX hosts mean, and which TLSA records count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.dane import DaneKind, DaneOutcome, Host, HostState, MxState, is_usable
from postfix_mta_sts.values import replace
from tests.support.dane_outcomes import UNSIGNED, signed

SHA256, SHA512 = bytes(32), bytes(64)
SHORT_DER = b"\x30\x03\x02\x01\x00"
LONG_DER = b"\x30\x82\x01\x00" + bytes(256)
USABLE, UNUSABLE, ABSENT = HostState.USABLE, HostState.UNUSABLE, HostState.ABSENT
INSECURE, GONE, SKIPPED, FAILED = (
    HostState.INSECURE,
    HostState.GONE,
    HostState.SKIPPED,
    HostState.FAILED,
)


class TestUsable:
    """Which TLSA records can authenticate a host (T4)."""

    @pytest.mark.parametrize("usage", [2, 3])
    @pytest.mark.parametrize("selector", [0, 1])
    @pytest.mark.parametrize(
        ("matching", "data"), [(0, SHORT_DER), (0, LONG_DER), (1, SHA256), (2, SHA512)]
    )
    def test_usable(self, usage: int, selector: int, matching: int, data: bytes) -> None:
        """DANE-TA and DANE-EE, of a certificate or a key, whole or as a digest."""
        assert is_usable(usage, selector, matching, data)

    @pytest.mark.parametrize(
        ("usage", "selector", "matching", "data"),
        [
            (0, 1, 1, SHA256),
            (1, 1, 1, SHA256),
            (4, 1, 1, SHA256),
            (255, 1, 1, SHA256),
            (3, 2, 1, SHA256),
            (3, 1, 3, SHA256),
            (3, 1, 1, SHA256[1:]),
            (3, 1, 1, SHA512),
            (3, 1, 2, SHA256),
            (3, 1, 1, b""),
            (3, 1, 0, b""),
            (3, 1, 0, b"\x30"),
            (3, 1, 0, SHA256),
            (3, 1, 0, SHORT_DER + b"\0"),
            (3, 1, 0, SHORT_DER[:-1]),
            (3, 1, 0, LONG_DER[:-1]),
            (3, 1, 0, b"\x30\x80\x00\x00"),
        ],
    )
    def test_unusable(self, usage: int, selector: int, matching: int, data: bytes) -> None:
        """PKIX usages, unknown numbers, digests of a wrong length, invalid DER."""
        assert not is_usable(usage, selector, matching, data)

    @given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=300))
    def test_any(self, usage: int, selector: int, matching: int, data: bytes) -> None:
        """Any record can be checked, and an empty one is never usable."""
        assert not (is_usable(usage, selector, matching, data) and not data)


class TestKind:
    """What the states of the MX hosts mean for the domain."""

    @pytest.mark.parametrize(
        ("states", "kind", "reason"),
        [
            ([USABLE], DaneKind.ALL, "TLSA of mx0"),
            ([GONE, USABLE, USABLE], DaneKind.ALL, "TLSA of mx1"),
            ([USABLE, GONE, ABSENT], DaneKind.SOME, "TLSA of mx2"),
            ([USABLE, INSECURE], DaneKind.SOME, "TLSA of mx1"),
            ([USABLE, UNUSABLE], DaneKind.SOME, "TLSA of mx1"),
            ([USABLE, SKIPPED], DaneKind.SOME, "TLSA of mx1"),
            ([USABLE, FAILED], DaneKind.SOME, "TLSA of mx1"),
            ([ABSENT, FAILED, UNUSABLE], DaneKind.SOME_FAILED, "TLSA of mx1"),
            ([FAILED, ABSENT], DaneKind.SOME_FAILED, "TLSA of mx0"),
            ([FAILED, GONE], DaneKind.FAILURE, "TLSA of mx0"),
            ([FAILED, FAILED], DaneKind.FAILURE, "TLSA of mx0"),
            ([ABSENT, UNUSABLE], DaneKind.UNUSABLE, "TLSA of mx1"),
            ([GONE, ABSENT, INSECURE], DaneKind.NONE, "TLSA of mx1"),
            ([INSECURE, SKIPPED], DaneKind.NONE, "TLSA of mx0"),
            ([GONE], DaneKind.NONE, "MX: 2 found, signed"),
            ([], DaneKind.NONE, "MX: 2 found, signed"),
        ],
    )
    def test_signed(self, states: list[HostState], kind: DaneKind, reason: str) -> None:
        """One usable host is enough for DANE; a failure of one host says nothing of others (T5)."""
        outcome = signed(*states)
        assert (outcome.kind, outcome.reason) == (kind, reason)

    def test_not_signed(self) -> None:
        """Without a signed MX RRset there is no DANE, whatever its hosts have (T2)."""
        assert (UNSIGNED.kind, UNSIGNED.reason) == (DaneKind.INSECURE, "MX: not signed")

    @pytest.mark.parametrize("mx", [MxState.INSECURE, MxState.FAILED])
    def test_hosts_without_proof(self, mx: MxState) -> None:
        """An outcome without a signed MX RRset cannot have hosts."""
        with pytest.raises(ValueError, match="only if the MX RRset is signed"):
            replace(signed(USABLE), mx=mx)

    @pytest.mark.parametrize("text", ["", "a\nb", "ü", "x" * 2001, "\x1b[31m"])
    def test_text_from_the_network(self, text: str) -> None:
        """A name or a step must be one line of printable ASCII."""
        for kwargs in ({"name": text, "step": "x"}, {"name": "x", "step": text}):
            with pytest.raises(ValueError, match="printable"):
                Host(state=ABSENT, **kwargs)
        with pytest.raises(ValueError, match="printable"):
            DaneOutcome(MxState.FAILED, text)
