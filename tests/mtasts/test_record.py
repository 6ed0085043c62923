"""Parsing an RRset gives a policy id or an error (RFC 8461 §3.1)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import InvalidRecordError, NoRecordError
from postfix_mta_sts.mtasts.record import parse_records, record_name
from tests.support import generated

GOOD = b"v=STSv1; id=20160831085700Z;"
SPF = b"v=spf1 -all"


def test_name() -> None:
    """The record is at _mta-sts below the Policy Domain (D1)."""
    assert record_name(parse_domain("good.test")) == "_mta-sts.good.test"


@pytest.mark.parametrize(
    ("text", "policy_id"),
    [
        (GOOD, "20160831085700Z"),
        (b"v=STSv1;id=a", "a"),
        (b"v=STSv1; id=a;", "a"),
        (b"v=STSv1 \t;\t id=a \t;\t ", "a"),
        (b"v=STSv1 ; id=a", "a"),  # erratum 6285: it is the only record
        (b"v=STSv1; x=1; id=a; y.z-_=!:<>~", "a"),
        (b"v=STSv1; id=a; id=b", "a"),
        (b"v=STSv1; id=a; id=not-an-id", "a"),
        (b"v=STSv1; id=a; v=STSv2", "a"),
        (b"v=STSv1; ID=b; id=a", "a"),
        (b"v=STSv1; id=" + b"Z" * 32, "Z" * 32),
        (b"v=STSv1; " + b"n" * 32 + b"=v; id=a", "a"),
    ],
)
def test_valid(text: bytes, policy_id: str) -> None:
    """A valid record gives its id; unknown and repeated fields change nothing (D3-D9)."""
    assert parse_records([text]) == policy_id


@pytest.mark.parametrize(
    "text",
    [
        b"v=STSv1",
        b"v=STSv1;",
        b"v=STSv1; ;id=a",
        b"v=STSv1;; id=a",
        b"v=STSv1; id=a;;",
        b"v=STSv1; id=a ",
        b"v=STSv1; id=a\n",
        b"v=STSv1; id=",
        b"v=STSv1; id= a",
        b"v=STSv1; id =a",
        b"v=STSv1; Id=a",
        b"v=STSv1; id=a-b",
        b"v=STSv1; id=!; id=a",
        b"v=STSv1; id=" + b"Z" * 33,
        b"v=STSv1; id=\xd9\xa1",
        b"v=STSv1; id=a; x=",
        b"v=STSv1; id=a; x=a b",
        b"v=STSv1; id=a; x=a=b",
        b"v=STSv1; id=a; -x=1",
        b"v=STSv1; id=a; " + b"n" * 33 + b"=v",
        b"v=STSv1; id=a; x=\xc3\xbc",
    ],
)
def test_malformed(text: bytes) -> None:
    """A record that violates the ABNF is an error with one printable line (D2-D6, D11)."""
    with pytest.raises(InvalidRecordError) as caught:
        parse_records([text])
    assert re.fullmatch(r"[ -~]+", str(caught.value))


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [b""],
        [SPF],
        [b" " + GOOD],
        [b"V=STSv1; id=a"],
        [b"v=stsv1; id=a"],
        [
            SPF,
            b"v=STSv1 ; id=a",
        ],  # of several, only those with the literal "v=STSv1;" count (D10, D21)
        [SPF, b"id=a; v=STSv1;"],
        [b"id=a; v=STSv1;"],
        [b"v=STSv12; id=a"],  # and that of a later version is none (E3)
        [b"v=STSv1 id=a"],
    ],
)
def test_none(texts: list[bytes]) -> None:
    """A text that does not begin with v=STSv1 is not an MTA-STS record (D10, D11)."""
    with pytest.raises(NoRecordError):
        parse_records(texts)


def test_others_are_discarded_before_counting() -> None:
    """An MTA-STS record among other records is the only one that counts (D10)."""
    assert parse_records([SPF, GOOD, b"v=STSv2; id=a", b"v=STSv1"]) == "20160831085700Z"


@pytest.mark.parametrize("other", [GOOD, b"v=STSv1;", b"v=STSv1; nonsense"])
def test_several(other: bytes) -> None:
    """Two MTA-STS records are an error, even if one is malformed (D11)."""
    with pytest.raises(InvalidRecordError, match="2 TXT records"):
        parse_records([GOOD, other])


def test_long_runs_of_blanks_take_linear_time() -> None:
    """A record of 64 KiB of blanks is refused; a quadratic parser would take minutes."""
    with pytest.raises(InvalidRecordError):
        parse_records([b"v=STSv1;" + b" " * 65_000 + b"x"])
    assert parse_records([b"v=STSv1" + b"\t" * 65_000 + b";id=a"]) == "a"


@given(st.lists(st.one_of(st.binary(max_size=80), st.builds(GOOD.__add__, st.binary(max_size=20)))))
def test_any_bytes(texts: list[bytes]) -> None:
    """Any RRset gives 1 to 32 letters and digits, or one of the two errors."""
    try:
        policy_id = parse_records(texts)
    except (InvalidRecordError, NoRecordError) as error:
        assert re.fullmatch(r"[ -~]+", str(error))
    else:
        assert re.fullmatch(r"[A-Za-z0-9]{1,32}", policy_id)


@given(generated.ids, st.data())
def test_any_valid_record(policy_id: str, data: st.DataObject) -> None:
    """Every record that the ABNF generates is accepted, and its first id counts."""
    text = data.draw(generated.record("v=STSv1", f"id={policy_id}"))
    assert parse_records([text]) == policy_id
