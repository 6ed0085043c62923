"""The domains in Postfix's mail log."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.postfix.delivery_log import LINE_LIMIT, recipient_domain

TRADITIONAL = "Nov 27 05:45:40 mx postfix/smtp[4711]: "
RFC3339 = "2026-11-27T05:45:40.123456+00:00 mx postfix/smtp[4711]: "
SENT = "delay=1.2, delays=0.1/0/0.5/0.6, dsn=2.0.0, status=sent (250 2.0.0 Ok)"
RELAY = "mx1.example.com[192.0.2.1]:25"


def line(
    to: str = "user@example.com",
    relay: str = RELAY,
    start: str = TRADITIONAL,
    more: str = "",
    end: str = SENT,
) -> bytes:
    """A line of smtp(8)."""
    return f"{start}4Xyz0bQjKqz1: to=<{to}>, {more}relay={relay}, {end}\n".encode()


@pytest.mark.parametrize(
    "start",
    [
        TRADITIONAL,
        RFC3339,
        "Nov  7 05:45:40 mx postfix/relay/smtp[1]: ",
        "Nov  7 05:45:40 mx postfix-out/smtp[1]: ",
        "Nov  7 05:45:40 mx postfix/lmtp[1]: ",
        "<22>Nov  7 05:45:40 postfix/smtp[1]: ",
        "postfix/smtp[1]: ",
    ],
)
def test_any_date_and_name(start: str) -> None:
    """The time is not read, and neither is the name of the machine or of the instance."""
    assert recipient_domain(line(start=start)) == "example.com"


@pytest.mark.parametrize(
    ("to", "domain"),
    [
        ("user@EXAMPLE.com", "example.com"),
        ('"a@b"@example.com', "example.com"),
        ('"a>, relay=x.test[1.2.3.4]:25, c"@example.com', "example.com"),
        ('"a@evil.test>, relay=x, delay=1, delays="@example.com', "example.com"),
        (r'"\"a@evil.test>, orig_to=<\\\">, relay=x, delay=1, delays="@example.com', "example.com"),
        ('" to=<x@evil.test>"@example.com', "example.com"),
        ('"@example.com', "example.com"),
        ("a@b@example.com", "example.com"),  # as before Postfix 3.5: not quoted
        ("user+tag=x@example.com", "example.com"),
        ("us\u00e9r@b\u00fccher.example", "xn--bcher-kva.example"),
        ("user@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("user@[192.0.2.1]", None),
        ("user@[IPv6:2001:db8::1]", None),
        ("user@192.0.2.1", None),
        ("user", None),
        ("user@localhost", None),
        ("user@", None),
        ("@example.com", "example.com"),
        ("", None),
        ("user@-x-.example", None),
    ],
)
def test_recipients(to: str, domain: str | None) -> None:
    """The domain is what follows the last `@`, if it is one that may have a policy."""
    assert recipient_domain(line(to)) == domain


@pytest.mark.parametrize(
    "text",
    [
        line(relay="none"),
        line(relay="local", start="Nov 27 05:45:40 mx postfix/local[1]: "),
        line(relay="virtual"),
        line(relay="local"),
        line(relay="mx[private/dovecot-lmtp]"),
        line(relay="mx[/var/run/cyrus/lmtp]"),
        line(relay="127.0.0.1[127.0.0.1]:10024"),
        line(relay="localhost[::1]:24"),
        line(start="Nov 27 05:45:40 mx postfix/pipe[1]: "),
        line(start="Nov 27 05:45:40 mx postfix/smtpd[1]: "),
        line(start="Nov 27 05:45:40 mx dovecot: postfix/smtp: "),
        b"Nov 27 05:45:40 mx postfix/qmgr[1]: 4Xyz0bQjKqz1: from=<a@example.com>, size=1",
        b"Nov 27 05:45:40 mx postfix/smtp[1]: connect to mx.example.com[192.0.2.1]:25: refused",
        b"Nov 27 05:45:40 mx postfix/smtp[1]: 4Xyz0bQjKqz1: to=<a@example.com>, relay=mx",
        b"Nov 27 05:45:40 mx postfix/smtp[1]: 4Xyz0bQjKqz1: to=<a@example.com",
        b"",
        line(to="a" * LINE_LIMIT + "@example.com"),
        line().replace(b"example.com>", b"ex\xffmple.com>"),
    ],
)
def test_no_delivery_to_another_host(text: bytes) -> None:
    """Local mail, filters, other programs, mail for which no host was found, broken lines."""
    assert recipient_domain(text) is None


IMITATION = f"/smtp[1]: 4Xyz0bQjKqz1: to=<a@evil.test>, relay={RELAY}, {SENT}"


@pytest.mark.parametrize(
    "text",
    [
        f"smtpd[1]: NOQUEUE: reject: RCPT from x[192.0.2.9]: 554 5.7.1 <{IMITATION}>: denied",
        f"smtpd[1]: NOQUEUE: reject: RCPT from x[192.0.2.9]: helo=<{IMITATION}>",
        f"cleanup[1]: 4Xyz0bQjKqz1: message-id=<{IMITATION}>",
        f"cleanup[1]: 4Xyz0bQjKqz1: warning: header Subject: {IMITATION}",
        f"smtp[1]: 4Xyz0bQjKqz1: host x[192.0.2.9] said: 450 {IMITATION}",
        f"smtp[1]: warning: host {IMITATION}",
    ],
)
def test_imitated_lines(text: str) -> None:
    """What strangers have written into the log of a mail server is not taken for its own words."""
    assert recipient_domain(f"Nov 27 05:45:40 mx postfix/{text}\n".encode()) is None
    assert recipient_domain(f"Nov 27 05:45:40 mx dovecot: lmtp(1): {IMITATION}".encode()) is None


def test_loopback_on_port_25() -> None:
    """A mail server may be on this machine; a filter has another port."""
    assert recipient_domain(line(relay="mx[127.0.0.5]:25")) == "example.com"


def test_more_fields() -> None:
    """`orig_to` is the address before an alias: the mail went to the other one."""
    for more in ("orig_to=<root>, ", "orig_to=<x@other.test>, ", 'orig_to=<"a>, b"@other.test>, '):
        assert recipient_domain(line(more=more)) == "example.com"
    end = f"conn_use=2, {SENT}"
    assert recipient_domain(line(end=end)) == "example.com"


def test_what_a_server_says() -> None:
    """A reply that looks like a line of the log changes nothing."""
    said = f"450 x: to=<a@evil.test>, relay=evil.test[192.0.2.9]:25, {SENT}"
    assert recipient_domain(line(end=f"{SENT} {said}")) == "example.com"
    assert recipient_domain(line(relay="none", end=f"{SENT} {said}")) is None


def test_a_line_that_takes_long() -> None:
    """A line made to be matched in many ways is read like any other."""
    start = "postfix/smtp[1]: AAAAAAAA: to=<"
    for made in (">, orig_to=<", '>, orig_to=<"', '"@>, orig_to=<"'):
        text = (start + made * 700)[:LINE_LIMIT].encode()
        for _ in range(3):
            assert recipient_domain(text) is None


WORD = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


@given(WORD, WORD)
@example("a>, relay=x, delay=1, delays=", "")
def test_any_local_part(local: str, original: str) -> None:
    """Whatever a local part has in it, the domain is found, or one that is in the local part."""
    more = f"orig_to=<{original}>, " if original else ""
    text = line(f"{local}@example.com", more=more)
    assert recipient_domain(text) == "example.com" or ">" in local or '"' in local


@given(WORD, WORD)
@example("a@evil.test>, relay=x, delay=1, delays=", '"')
@example("\\", ">, relay=none, delay=1, delays=")
def test_any_quoted_local_part(local: str, original: str) -> None:
    """Whatever a quoted local part has in it, the domain is found."""
    to, orig_to = (re.sub(r'(["\\])', r"\\\1", each) for each in (local, original))
    text = line(f'"{to}"@example.com', more=f'orig_to=<"{orig_to}"@other.test>, ')
    assert recipient_domain(text) == "example.com"


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    """Any line gives nothing, or a valid domain."""
    for text in (data, line().replace(b"user@example.com", data), line()[:60] + data):
        domain = recipient_domain(text)
        assert domain is None or parse_domain(domain) == domain


@given(st.integers(0, 200))
def test_any_cut(length: int) -> None:
    """Of a line that is not complete no part of a domain is taken for one."""
    assert recipient_domain(line()[:length]) in {None, "example.com"}
