"""Parsing a TLSRPT RRset gives the places for reports or an error (RFC 8460 §3)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import InvalidRecordError, NoRecordError
from postfix_mta_sts.mtasts.tlsrpt_record import parse_tlsrpt, tlsrpt_name
from tests.support import generated

GOOD = b"v=TLSRPTv1; rua=mailto:tls@good.test"
URI = "mailto:tls@good.test"


def test_name() -> None:
    """The record is at _smtp._tls below the domain."""
    assert tlsrpt_name(parse_domain("good.test")) == "_smtp._tls.good.test"


@pytest.mark.parametrize(
    ("text", "rua"),
    [
        (GOOD, (URI,)),
        (b"v=TLSRPTv1;rua=mailto:tls@good.test", (URI,)),
        (b"v=TLSRPTv1 ;\trua=mailto:tls@good.test ; ", (URI,)),
        (b"v=TLSRPTv1; x=1; rua=mailto:tls@good.test; y=2;", (URI,)),
        (b"v=TLSRPTv1; rua=mailto:tls@good.test; rua=mailto:b@b.test", (URI,)),
        (b"v=TLSRPTv1; rua=MAILTO:tls@good.test", ("MAILTO:tls@good.test",)),
        (b"v=TLSRPTv1; rua=https://r.test/v1?a=b", ("https://r.test/v1?a=b",)),
        (b"v=TLSRPTv1; rua=https://[2001:db8::1]:8443", ("https://[2001:db8::1]:8443",)),
        (
            b"v=TLSRPTv1; rua=mailto:a@b.test , https://c.test",
            ("mailto:a@b.test", "https://c.test"),
        ),
        (b"v=TLSRPTv1; rua=mailto:a%2Cb%21%3b@b.test", ("mailto:a%2Cb%21%3b@b.test",)),
        (b"v=TLSRPTv1; rua=ftp://a.test,mailto:tls@good.test", (URI,)),
    ],
)
def test_valid(text: bytes, rua: tuple[str, ...]) -> None:
    """The URIs of the first rua that are mailto: or https: are kept, as they were written."""
    assert parse_tlsrpt([text]).rua == rua


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"v=TLSRPTv1", "no rua field"),
        (b"v=TLSRPTv1; x=1", "no rua field"),
        (b"v=TLSRPTv1; rua=", "rua is not a URI: ''"),
        (b"v=TLSRPTv1; rua=tls@good.test", "rua is not a URI"),
        (b"v=TLSRPTv1; rua=mailto:a@b.test,", "rua is not a URI: ''"),
        (b"v=TLSRPTv1; rua=mailto:a@b.test!10m", "rua is not a URI"),
        (b"v=TLSRPTv1; rua=mailto:a b@b.test", "rua is not a URI"),
        (b"v=TLSRPTv1; rua=mailto:b.test", "rua is not a valid mailto"),
        (b"v=TLSRPTv1; rua=mailto:a%2@b.test", "rua is not a valid mailto"),
        (b"v=TLSRPTv1; rua=mailto://a@b.test", "rua is not a valid mailto"),
        (b"v=TLSRPTv1; rua=https:b.test", "rua is not a valid https"),
        (b"v=TLSRPTv1; rua=http://b.test", "rua has neither mailto: nor https:"),
        (b"v=TLSRPTv1; rua=mailto:\xfc@b.test", "rua is not ASCII"),
        (b"v=TLSRPTv1; rua:mailto:a@b.test", "malformed field"),
        (b"v=TLSRPTv1; rua=mailto:a@b.test;mailto:c@b.test", "malformed field"),
    ],
)
def test_malformed(text: bytes, reason: str) -> None:
    """A record that violates the ABNF is an error with one printable line."""
    with pytest.raises(InvalidRecordError, match=reason) as caught:
        parse_tlsrpt([text])
    assert re.fullmatch(r"[ -~]+", str(caught.value))


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [b"v=spf1 -all"],
        [b"v=tlsrptv1; rua=mailto:a@b.test"],
        [b"v=TLSRPv1;rua=x"],
        [b"v=TLSRPTv1.; rua=mailto:a@b.test"],
    ],
)
def test_none(texts: list[bytes]) -> None:
    """A text that does not begin with v=TLSRPTv1 is not a TLSRPT record."""
    with pytest.raises(NoRecordError):
        parse_tlsrpt(texts)


def test_the_wrong_character_is_named() -> None:
    """A record that is nearly one of ours is an error that names the first wrong character."""
    with pytest.raises(NoRecordError, match="character 8 is 'v', not 'T'"):
        parse_tlsrpt([b"v=TLSRPv1; rua=mailto:a@b.test"])


def test_others_are_discarded_before_counting() -> None:
    """A TLSRPT record among other records counts, and two are an error."""
    assert parse_tlsrpt([b"v=spf1 -all", GOOD]).rua == (URI,)
    with pytest.raises(InvalidRecordError, match="2 TXT records"):
        parse_tlsrpt([GOOD, GOOD])


@given(st.lists(st.one_of(st.binary(max_size=80), st.builds(GOOD.__add__, st.binary(max_size=20)))))
def test_any_bytes(texts: list[bytes]) -> None:
    """Any RRset gives printable URIs, or one of the two errors."""
    try:
        rua = parse_tlsrpt(texts).rua
    except (InvalidRecordError, NoRecordError) as error:
        assert re.fullmatch(r"[ -~]+", str(error))
    else:
        assert rua
        assert all(re.fullmatch(r"(?i:mailto|https):[!-~]+", uri) for uri in rua)


@given(st.lists(generated.uris, min_size=1, max_size=4), st.data())
def test_any_valid_record(uris: list[str], data: st.DataObject) -> None:
    """Every record that the ABNF generates is accepted, with all its URIs."""
    comma = f"{data.draw(generated.WSP)},{data.draw(generated.WSP)}"
    text = data.draw(generated.record("v=TLSRPTv1", f"rua={comma.join(uris)}"))
    assert parse_tlsrpt([text]).rua == tuple(uris)
