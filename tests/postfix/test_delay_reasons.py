"""Reasons for a delay, in Postfix's words of different hosts and domains."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix.delay_reasons import LIMIT, common, kind


@pytest.mark.parametrize(
    ("reason", "text", "fault"),
    [
        (
            "connect to mx1.a.test[192.0.2.1]:25: Connection timed out",
            "connect to ...: Connection timed out",
            "Connection timed out",
        ),
        (
            (
                "delivery temporarily suspended: connect to mx.b.test[2001:db8::1]:25: "
                "Connection timed out"
            ),
            "connect to ...: Connection timed out",
            "Connection timed out",
        ),
        (
            "TLS is required, but was not offered by host mx1.a.test[192.0.2.1]",
            "TLS is required, but was not offered by host ...",
            "TLS is required, but was not offered by host ...",
        ),
        (
            "Server certificate not verified",
            "Server certificate not verified",
            "Server certificate not verified",
        ),
        (
            (
                "Host or domain name not found. Name service error for name=a.test type=MX: "
                "Host not found, try again"
            ),
            (
                "Host or domain name not found. Name service error for name=... type=MX: "
                "Host not found, try again"
            ),
            (
                "Host or domain name not found. Name service error for name=... type=MX: "
                "Host not found, try again"
            ),
        ),
        (
            (
                "host mx.a.test[192.0.2.1] said: 450 4.2.0 <u@a.test>: Recipient address rejected: "
                "Greylisted (in reply to RCPT TO command)"
            ),
            (
                "host ... said: 450 4.2.0 <...>: Recipient address rejected: "
                "Greylisted (in reply to RCPT TO command)"
            ),
            "host ... said 450 4.2.0",
        ),
        (
            "host mx.a.test[192.0.2.1] refused to talk to me: 421 too many connections",
            "host ... refused to talk to me: 421 too many connections",
            "host ... refused to talk to me 421",
        ),
        (
            "lost connection with mx.a.test[192.0.2.1] while receiving the initial server greeting",
            "lost connection with ... while receiving the initial server greeting",
            "lost connection with ... while receiving the initial server greeting",
        ),
        (
            "said by\tx\n u@a.test \x1b[31m",
            r"said by x <...> \x1b[31m",
            r"said by x <...> \x1b[31m",
        ),
    ],
)
def test_examples(reason: str, text: str, fault: str) -> None:
    """What differs from host to host is left out."""
    assert (common(reason), kind(reason)) == (text, fault)


@given(st.text(max_size=300))
def test_anything(reason: str) -> None:
    """A reason is one short line of printable ASCII, whatever a server has said."""
    for text in (common(reason), kind(reason)):
        assert all(" " <= character <= "~" for character in text)
        assert len(text) <= 4 * LIMIT


@pytest.mark.parametrize("unit", ["a", "<", "@", "a@", "[", "a[1", "said: ", "name=a.", "host "])
def test_long_reasons(unit: str) -> None:
    """A reply that is made to be slow to read is cut."""
    assert len(common(unit * 1_000_000)) <= 4 * LIMIT
    assert len(kind(unit * 1_000_000)) <= 4 * LIMIT
