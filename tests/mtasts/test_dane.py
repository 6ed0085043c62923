"""What the signed DNS says of MX hosts, as a table; how long it is believed; how it is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.dane import (
    FAILURE_RETRY,
    LIFE_LEAST,
    LIFE_MOST,
    RECHECK_SHARE,
    DaneKind,
    DaneOutcome,
    Host,
    HostState,
    MxState,
    Verdict,
    after_verdict,
    from_text,
    is_due,
    is_live,
    is_usable,
    to_text,
)
from postfix_mta_sts.values import replace

T = 1_790_000_000.0
"""When it all begins."""
HOUR = 3600
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


def found(*states: HostState, ttl: int = HOUR) -> DaneOutcome:
    """What is found of a signed MX RRset with such hosts."""
    hosts = tuple(Host(f"mx{n}", state, f"TLSA of mx{n}") for n, state in enumerate(states))
    return DaneOutcome(MxState.SECURE, "MX: 2 found, signed", hosts, ttl)


SILENT = DaneOutcome(MxState.FAILED, "MX: no answer within 5 s")
UNSIGNED = DaneOutcome(MxState.INSECURE, "MX: not signed", ttl=HOUR)


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
        """PKIX usages, unknown numbers, digests of another length, what is no DER."""
        assert not is_usable(usage, selector, matching, data)

    @given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=300))
    def test_any(self, usage: int, selector: int, matching: int, data: bytes) -> None:
        """Of any record it can be said, and an empty one never is."""
        assert not (is_usable(usage, selector, matching, data) and not data)


class TestKind:
    """What the hosts' states mean for the domain."""

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
            ([ABSENT, FAILED, UNUSABLE], DaneKind.FAILURE, "TLSA of mx1"),
            ([ABSENT, UNUSABLE], DaneKind.UNUSABLE, "TLSA of mx1"),
            ([GONE, ABSENT, INSECURE], DaneKind.NONE, "TLSA of mx1"),
            ([INSECURE, SKIPPED], DaneKind.NONE, "TLSA of mx0"),
            ([GONE], DaneKind.NONE, "MX: 2 found, signed"),
            ([], DaneKind.NONE, "MX: 2 found, signed"),
        ],
    )
    def test_signed(self, states: list[HostState], kind: DaneKind, reason: str) -> None:
        """One usable host makes it a DANE domain; without one a failure leaves it open (T5)."""
        outcome = found(*states)
        assert (outcome.kind, outcome.reason) == (kind, reason)

    def test_not_signed(self) -> None:
        """An MX RRset that is not signed is no DANE, whatever its hosts have (T2)."""
        assert (UNSIGNED.kind, UNSIGNED.reason) == (DaneKind.INSECURE, "MX: not signed")

    def test_silent(self) -> None:
        """A DNS that does not say is neither signed nor not."""
        verdict = after_verdict(None, SILENT, T)
        assert (verdict.kind, verdict.mx_is_secure) == (DaneKind.FAILURE, False)
        assert verdict.reason == "MX: no answer within 5 s"

    def test_signed_and_then_silent(self) -> None:
        """Where only the step after the MX RRset failed, that is known."""
        verdict = after_verdict(None, found(FAILED), T)
        assert (verdict.kind, verdict.mx_is_secure) == (DaneKind.FAILURE, True)

    @pytest.mark.parametrize("mx", [MxState.INSECURE, MxState.FAILED])
    def test_hosts_without_proof(self, mx: MxState) -> None:
        """Hosts that nothing has proven cannot be part of an outcome."""
        with pytest.raises(ValueError, match="only asked about where"):
            replace(found(USABLE), mx=mx)

    @pytest.mark.parametrize("text", ["", "a\nb", "ü", "x" * 2001, "\x1b[31m"])
    def test_text_of_a_stranger(self, text: str) -> None:
        """Nothing but one line of printable ASCII is a name or a step."""
        for kwargs in ({"name": text, "step": "x"}, {"name": "x", "step": text}):
            with pytest.raises(ValueError, match="printable"):
                Host(state=ABSENT, **kwargs)
        with pytest.raises(ValueError, match="printable"):
            DaneOutcome(MxState.FAILED, text)


class TestLife:
    """How long a verdict is believed."""

    @pytest.mark.parametrize(
        ("ttl", "life"),
        [(0, LIFE_LEAST), (59, 60), (60, 60), (HOUR, HOUR), (86400, 86400), (10**9, LIFE_MOST)],
    )
    def test_the_least_ttl_within_bounds(self, ttl: int, life: float) -> None:
        """It lives for the TTL, but a minute at least and a day at most (T6)."""
        verdict = after_verdict(None, found(USABLE, ttl=ttl), T)
        assert (verdict.found_at, verdict.until) == (T, T + life)
        assert verdict.recheck_at == T + RECHECK_SHARE * life

    def test_fresh_then_due_then_forgotten(self) -> None:
        """It is served as it is, then while it is looked for again, then no more."""
        verdict = after_verdict(None, found(USABLE, ttl=100), T)
        seen = [(is_live(verdict, T + s), is_due(verdict, T + s)) for s in (0, 74, 75, 99, 100)]
        assert seen == [(True, False), (True, False), (True, True), (True, True), (False, True)]

    def test_none(self) -> None:
        """Where there is no verdict, one is due."""
        assert (is_live(None, T), is_due(None, T)) == (False, True)

    def test_a_failure_is_retried_soon(self) -> None:
        """What the DNS did not say is asked again after half a minute."""
        verdict = after_verdict(None, SILENT, T)
        assert is_live(verdict, T + FAILURE_RETRY - 1)
        assert not is_live(verdict, T + FAILURE_RETRY)

    @pytest.mark.parametrize("states", [[USABLE], [USABLE, ABSENT], [UNUSABLE], [ABSENT]])
    @pytest.mark.parametrize("failure", [SILENT, found(FAILED)])
    def test_a_failure_takes_nothing_back(
        self, states: list[HostState], failure: DaneOutcome
    ) -> None:
        """A verdict stands through failures for the rest of its life, and no longer (T6)."""
        before = after_verdict(None, found(*states), T)
        late = before.until - 10
        kept = after_verdict(before, failure, T + 1)
        assert kept == replace(before, recheck_at=T + 1 + FAILURE_RETRY, failure=failure.reason)
        still = after_verdict(kept, failure, late)
        assert (still.outcome, still.recheck_at, still.until) == (
            before.outcome,
            before.until,
            before.until,
        )
        assert after_verdict(still, failure, before.until).kind is DaneKind.FAILURE

    def test_an_insecure_domain_stands_through_failures_too(self) -> None:
        """That a domain is not signed is not forgotten for a failure."""
        before = after_verdict(None, UNSIGNED, T)
        assert after_verdict(before, SILENT, T + 1).kind is DaneKind.INSECURE

    def test_an_answer_ends_a_failure(self) -> None:
        """The next answer replaces all, the failure that was noted included."""
        before = after_verdict(None, found(USABLE), T)
        failed = after_verdict(before, SILENT, T + 1)
        again = after_verdict(failed, found(ABSENT), T + 40)
        assert again == after_verdict(None, found(ABSENT), T + 40)

    def test_a_failure_follows_a_failure(self) -> None:
        """The later one is told: it may know more of the MX RRset, or less."""
        before = after_verdict(None, SILENT, T)
        assert after_verdict(before, found(FAILED), T + 1).mx_is_secure

    def test_half_an_answer_lives_shortly(self) -> None:
        """A domain of which one host was not heard is asked about again in a minute."""
        verdict = after_verdict(None, found(USABLE, FAILED), T)
        assert (verdict.kind, verdict.until) == (DaneKind.SOME, T + LIFE_LEAST)

    def test_the_clock_was_set_back(self) -> None:
        """A verdict from the future is served, looked for at once, and kept a day at most."""
        verdict = after_verdict(None, found(USABLE, ttl=86400), T)
        then = T - 1_000_000
        assert (is_live(verdict, then), is_due(verdict, then)) == (True, True)
        assert after_verdict(verdict, SILENT, then).until == then + LIFE_MOST

    def test_a_failure_from_the_future(self) -> None:
        """A failure from the future is not believed."""
        assert not is_live(after_verdict(None, SILENT, T), T - 1000)


PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40)
HOSTS = st.builds(Host, PRINTABLE, st.sampled_from(HostState), PRINTABLE)
OUTCOMES = st.one_of(
    st.builds(
        DaneOutcome,
        st.just(MxState.SECURE),
        PRINTABLE,
        st.lists(HOSTS, max_size=4).map(tuple),
        st.integers(0, 2**31 - 1),
    ),
    st.builds(
        DaneOutcome,
        st.sampled_from([MxState.INSECURE, MxState.FAILED]),
        PRINTABLE,
        ttl=st.integers(0, 2**31 - 1),
    ),
)
TIMES = st.floats(0, 2**33)


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    """Verdicts as they come about: one answer, and perhaps one after it."""
    now = draw(TIMES)
    verdict = after_verdict(None, draw(OUTCOMES), now)
    if draw(st.booleans()):
        verdict = after_verdict(verdict, draw(OUTCOMES), now + draw(st.floats(-1e6, 1e6)))
    return verdict


class TestText:
    """The form in which it is kept on file."""

    @given(verdicts())
    def test_round_trip(self, verdict: Verdict) -> None:
        """What was written is read as it was."""
        assert from_text(to_text(verdict)) == verdict

    @given(verdicts())
    def test_one_line(self, verdict: Verdict) -> None:
        """It is one line of printable ASCII."""
        assert to_text(verdict).isascii()
        assert to_text(verdict).isprintable()

    @given(st.text() | st.from_regex(r'[\[{]["a-z:,0-9\[\]{}]*', fullmatch=True))
    def test_any_text(self, text: str) -> None:
        """Any other text is no verdict, and no error."""
        assert from_text(text) is None

    @given(verdicts(), st.data())
    def test_damage(self, verdict: Verdict, data: st.DataObject) -> None:
        """A text that was changed anywhere is no verdict, or to the letter that of another."""
        text = to_text(verdict)
        at = data.draw(st.integers(0, len(text) - 1))
        damaged = text[:at] + data.draw(st.text(max_size=2)) + text[at + 1 :]
        read = from_text(damaged)
        assert read is None or to_text(read) == damaged

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ('"mx":"secure"', '"mx":"safe"'),
            ('"mx":"secure"', '"mx":"insecure"'),
            ('"ttl":3600', '"ttl":true'),
            ('"ttl":3600', '"ttl":-1'),
            ('"ttl":3600', '"ttl":3600.0'),
            ('"ttl":3600', '"ttl":3600,"more":1'),
            ('"ttl":3600', '"ttl":1,"ttl":3600'),
            ('"failure":null', '"failure":""'),
            ('"failure":null', '"failure":1'),
            ('"usable"', '"USABLE"'),
            ('["mx0",', "["),
            ('"hosts":[', '"hosts":[1,'),
            ("1790000000.0", "1790000000"),
            ("1790000000.0", "NaN"),
            ("1790000000.0", "1e999"),
            ('"until":1790003600.0', '"until":1790000000.0'),
            ("MX: 2 found", "MX:\\n2 found"),
        ],
    )
    def test_almost(self, old: str, new: str) -> None:
        """What is nearly one is none: the DNS is asked again."""
        text = to_text(after_verdict(None, found(USABLE), T))
        assert old in text
        assert from_text(text.replace(old, new)) is None

    def test_too_deep(self) -> None:
        """A text nested beyond measure is no verdict, and no error."""
        assert from_text("[" * 200_000) is None
