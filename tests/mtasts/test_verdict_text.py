"""DANE: the text form of a verdict, for the store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.verdict import Verdict, after_verdict, from_text, to_text

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
    """Verdicts after one look-up, and perhaps another."""
    now = draw(TIMES)
    verdict = after_verdict(None, draw(OUTCOMES), now)
    if draw(st.booleans()):
        verdict = after_verdict(verdict, draw(OUTCOMES), now + draw(st.floats(-1e6, 1e6)))
    return verdict


SIGNED = DaneOutcome(
    MxState.SECURE,
    "MX: 2 found, signed",
    (Host("mx0", HostState.USABLE, "TLSA of mx0"),),
    3600,
)


class TestText:
    """The text form, for the store."""

    @given(verdicts())
    def test_round_trip(self, verdict: Verdict) -> None:
        """A verdict is read as it was written."""
        assert from_text(to_text(verdict)) == verdict

    @given(verdicts())
    def test_one_line(self, verdict: Verdict) -> None:
        """It is one line of printable ASCII."""
        assert to_text(verdict).isascii()
        assert to_text(verdict).isprintable()

    @given(st.text() | st.from_regex(r'[\[{]["a-z:,0-9\[\]{}]*', fullmatch=True))
    def test_any_text(self, text: str) -> None:
        """Any other text gives None, and no error."""
        assert from_text(text) is None

    @given(verdicts(), st.data())
    def test_damage(self, verdict: Verdict, data: st.DataObject) -> None:
        """A changed text gives None, or exactly the verdict of which it is the text."""
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
    def test_nearly_valid_text(self, old: str, new: str) -> None:
        """A text that is nearly valid gives None, so that the DNS is asked again."""
        text = to_text(after_verdict(None, SIGNED, 1_790_000_000.0))
        assert old in text
        assert from_text(text.replace(old, new)) is None

    def test_deeply_nested_text(self) -> None:
        """A deeply nested text gives None, and no error."""
        assert from_text("[" * 200_000) is None
