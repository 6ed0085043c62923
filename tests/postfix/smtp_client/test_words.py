"""What is taken out of Postfix's words before two deliveries are compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix.smtp_client.words import normalise

_NOT_FOUND = "Host or domain name not found"


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (
            "connect to mx1.good.test[127.0.0.1]:25: Connection refused",
            "connect to: Connection refused",
        ),
        (
            "connect to mx1.good.test[2001:db8::1]:2525: Connection timed out",
            "connect to: Connection timed out",
        ),
        (
            "host mx.x.test[fe80::1%eth0] refused to talk to me: 554 5.7.1 go away",
            "host refused to talk to me: 554 5.7.1 go away",
        ),
        (
            "lost connection with mx.x.test[127.0.0.1] while receiving the STARTTLS response",
            "lost connection with while receiving the STARTTLS response",
        ),
        (
            "TLS is required, but was not offered by host mx.x.test[127.0.0.1]",
            "TLS is required, but was not offered by host",
        ),
        (
            f"{_NOT_FOUND}. Name service error for name=x.test type=MX: Host not found, try again",
            f"{_NOT_FOUND}. Name service error for type=MX: Host not found, try again",
        ),
        (
            f"{_NOT_FOUND}. Name service error for name=x.test type=AAAA: Host not found",
            f"{_NOT_FOUND}. Name service error: Host not found",
        ),
        (
            "Name service error for ::1: invalid host or domain name",
            "Name service error: invalid host or domain name",
        ),
        ("Domain x.test does not accept mail (nullMX)", "Domain does not accept mail (nullMX)"),
        ("mail for x.test loops back to myself", "mail loops back to myself"),
        ("unable to find primary relay for x.test", "unable to find primary relay"),
        ("TLSA lookup error for mx.x.test:25", "TLSA lookup error"),
        ("4gJk2x1Qz9z7: Server certificate not verified", "Server certificate not verified"),
        ("250 2.0.0 Ok: queued as 4gJk2x1Qz9z7", "250 2.0.0 Ok: queued"),
        ("Server certificate not verified", "Server certificate not verified"),
        ("  two\t words\n", "two words"),
        ("", ""),
    ],
)
def test_names_go(text: str, rest: str) -> None:
    """Names, addresses, ports and queue ids go; the words stay."""
    assert normalise(text) == rest


_PIECES = st.sampled_from(
    ["host ", "mx[1.2.3.4]", ":25", ": ", "mail for ", " loops back", "Name service error for ",
     "name=", "type=A", "type=MX", "Domain ", " does not accept", "1A2B3C: ", "[", "]", " "]
)  # fmt: skip


@given(st.text() | st.lists(_PIECES).map("".join))
def test_twice_is_once(text: str) -> None:
    """Any text is normalised, and what comes out is normal."""
    once = normalise(text)
    assert normalise(once) == once
    assert len(once) <= len(text)


def test_long_text() -> None:
    """A text of a megabyte costs no more than its beginning."""
    assert len(normalise("[" * 1_000_000)) <= 4_000
