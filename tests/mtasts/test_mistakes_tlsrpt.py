"""Mistakes in the TLSRPT record, and the record to write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.mistakes import Place, Seen, Texts, find_mistakes
from postfix_mta_sts.mtasts.tlsrpt_record import parse_tlsrpt
from tests.support import generated
from tests.support.mistakes import DOMAIN, TLSRPT, codes, in_tlsrpt, text_to_write

GOOD = b"v=TLSRPTv1; rua=mailto:a@x.test"


@pytest.mark.parametrize(
    ("text", "found", "write"),
    [
        ("v=TLSRPv1; rua=mailto:a@x.test", ["tlsrpt-version"], GOOD),
        ("v=TLSRPTv1.; rua=mailto:a@x.test", ["tlsrpt-version"], GOOD),
        ("v=TLSRPT1; rua=mailto:a@x.test", ["tlsrpt-version"], GOOD),
        ("v=tlsrptv1; rua=mailto:a@x.test", ["tlsrpt-version"], GOOD),
        ("rua=mailto:a@x.test", ["tlsrpt-no-version"], GOOD),
        ("rua=mailto:a@x.test; v=TLSRPTv1", ["tlsrpt-order"], GOOD + b";"),
        ("v=TLSRPTv1 rua=mailto:a@x.test", ["tlsrpt-no-semicolon"], GOOD),
        ("v=TLSRPTv1, rua=mailto:a@x.test", ["tlsrpt-comma"], GOOD),
        ("v=TLSRPTv1;; rua=mailto:a@x.test", ["tlsrpt-empty-field"], GOOD),
        ('"v=TLSRPTv1; rua=mailto:a@x.test"', ["tlsrpt-quotes"], GOOD),
        (r"v=TLSRPTv1\; rua=mailto:a@x.test", ["tlsrpt-backslash"], GOOD),
        ("v=TLSRPTv1; rua:mailto:a@x.test", ["tlsrpt-colon"], GOOD),
        ("v=TLSRPTv1; rua = mailto:a@x.test", ["tlsrpt-blanks-at-equals"], GOOD),
        ("v=TLSRPTv1; RUA=mailto:a@x.test", ["tlsrpt-field-case"], GOOD),
        ("v=TLSRPTv1; ruf=mailto:a@x.test", ["tlsrpt-ruf"], GOOD),
        ("v=TLSRPTv1; rua=<mailto:a@x.test>", ["tlsrpt-brackets"], GOOD),
        ("v=TLSRPTv1; rua=a@x.test", ["tlsrpt-rua-no-mailto"], GOOD),
        (
            "v=TLSRPTv1; rua=mailto:a@x.test,b@x.test",
            ["tlsrpt-rua-no-mailto"],
            GOOD + b",mailto:b@x.test",
        ),
        (
            "v=TLSRPTv1; rua=mailto:a@x.test; mailto:b@x.test",
            ["tlsrpt-rua-semicolon"],
            GOOD + b",mailto:b@x.test",
        ),
        ("v=TLSRPTv1; rua=mailto://a@x.test", ["tlsrpt-rua-slashes"], GOOD),
        ("v=TLSRPTv1; rua=mailto: a@x.test", ["tlsrpt-rua-slashes"], GOOD),
        ("v=TLSRPTv1; rua=mailto:a@x.test!10m", ["tlsrpt-rua-size"], GOOD),
        (
            "v=TLSRPTv1; rua=http://x.test/r",
            ["tlsrpt-rua-http"],
            b"v=TLSRPTv1; rua=https://x.test/r",
        ),
        ("v=TLSRPTv1; rua=x.test/r", ["tlsrpt-rua-no-https"], b"v=TLSRPTv1; rua=https://x.test/r"),
        ("v=TLSRPTv1", ["tlsrpt-no-rua"], b"v=TLSRPTv1; rua=mailto:tlsrpt@x.test;"),
        ("v=TLSRPTv1; rua=me", ["tlsrpt-rua"], b"v=TLSRPTv1; rua=mailto:tlsrpt@x.test;"),
        ("v=TLSRPTv1; rua=mailto:a@x.test; x", ["tlsrpt-field"], GOOD + b";"),
    ],
)
def test_table(text: str, found: list[str], write: bytes) -> None:
    """Each mistake has its code, and the record without it."""
    mistakes = in_tlsrpt(text)
    assert codes(mistakes) == found
    for mistake in mistakes:
        assert mistake.place is Place.TLSRPT
        assert text_to_write(mistake) == write
        assert parse_tlsrpt([write]).rua


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("_smtp.tls.x.test", "tlsrpt-name-tls"),
        ("_smtp_tls.x.test", "tlsrpt-name-one-label"),
        ("_smtp-tls.x.test", "tlsrpt-name-hyphen"),
        ("smtp._tls.x.test", "tlsrpt-name-smtp"),
        ("_tls._smtp.x.test", "tlsrpt-name-order"),
        ("_tls.x.test", "tlsrpt-name-short"),
        ("_smtp._tls.x.test.x.test", "tlsrpt-name-doubled"),
        ("x.test", "tlsrpt-name-parent"),
    ],
)
def test_wrong_name(name: str, code: str) -> None:
    """A record at a wrong name is to be moved to the right one."""
    near = (Texts(name, (b"v=spf1 -all", GOOD)),)
    (mistake,) = find_mistakes(Seen(DOMAIN, tlsrpt=Texts(TLSRPT, ()), near=near))
    assert (mistake.code, mistake.place) == (code, Place.TLSRPT)
    assert mistake.write == f'{TLSRPT}. IN TXT "{GOOD.decode()}"'


def test_a_long_record_is_written_in_strings() -> None:
    """A string of a TXT record has 255 bytes at most (RFC 1035 §3.3)."""
    uris = ",".join(f"mailto:tls-{n:02}@mail.x.test" for n in range(20))
    (mistake,) = in_tlsrpt(f"v=TLSRPTv1 rua={uris}")
    assert '" "' in mistake.write
    assert parse_tlsrpt([text_to_write(mistake)]).rua == tuple(uris.split(","))


@pytest.mark.parametrize("texts", [[], [b"v=spf1 -all"], [b"v=DMARC1; p=none"]])
def test_no_record_is_no_mistake(texts: list[bytes]) -> None:
    """A domain need not want reports."""
    assert in_tlsrpt(*texts) == ()


@given(generated.tlsrpt_records)
def test_a_valid_record_has_no_mistake(text: bytes) -> None:
    """There is no false alarm for any record that the ABNF generates."""
    assert in_tlsrpt(text) == ()


@given(st.lists(st.one_of(st.binary(max_size=80), st.builds(GOOD.__add__, st.binary()))))
def test_any_bytes(texts: list[bytes]) -> None:
    """Any RRset gives printable mistakes, each with a valid record."""
    mistakes = in_tlsrpt(*texts)
    codes(mistakes)
    assert all(parse_tlsrpt([text_to_write(mistake)]).rua for mistake in mistakes)
