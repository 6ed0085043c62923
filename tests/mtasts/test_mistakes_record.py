"""Mistakes in the TXT record of MTA-STS, and the record to write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.errors import InvalidRecordError, NoRecordError
from postfix_mta_sts.mtasts.mistakes import Place, Seen, Texts, find_mistakes, near_names
from postfix_mta_sts.mtasts.record import parse_records
from tests.support import generated
from tests.support.mistakes import DOMAIN, RECORD, TLSRPT, codes, in_record, text_to_write

GOOD = b"v=STSv1; id=1"
SPF = b"v=spf1 -all"


@pytest.mark.parametrize(
    ("text", "found", "write"),
    [
        ("v=STS1; id=1", ["record-version"], "v=STSv1; id=1"),
        ("v=MTASTSv1; id=1", ["record-version"], "v=STSv1; id=1"),
        ("v=STSv1.; id=1", ["record-version"], "v=STSv1; id=1"),
        ("v=STSv12;id=1", ["record-version"], "v=STSv1;id=1"),
        ("v=stsv1; id=1", ["record-version"], "v=STSv1; id=1"),
        ("V=STSv1; id=1", ["record-version"], "v=STSv1; id=1"),
        ("STSv1; id=1", ["record-version"], "v=STSv1; id=1"),
        ("id=1", ["record-no-version"], "v=STSv1; id=1"),
        ("id=1; v=STSv1;", ["record-order"], "v=STSv1; id=1;"),
        ("v=STSv1 id=1", ["record-no-semicolon"], "v=STSv1; id=1"),
        ("v=STSv1id=1", ["record-no-semicolon"], "v=STSv1; id=1"),
        ("v=STSv1, id=1", ["record-comma"], "v=STSv1; id=1"),
        ("v=STSv1;; id=1", ["record-empty-field"], "v=STSv1; id=1"),
        ("v=STSv1; id=1;;", ["record-empty-field"], "v=STSv1; id=1;"),
        ('"v=STSv1; id=1"', ["record-quotes"], "v=STSv1; id=1"),
        ("v=STSv1; id=\u201c1\u201d", ["record-quotes"], "v=STSv1; id=1"),
        (r"v=STSv1\; id=1", ["record-backslash"], "v=STSv1; id=1"),
        ("v=STSv1;\u00a0id=1", ["record-not-ascii"], "v=STSv1; id=1"),
        (" v=STSv1; id=1", ["record-blank-around"], "v=STSv1; id=1"),
        ("v=STSv1; id=1\n", ["record-blank-around"], "v=STSv1; id=1"),
        ("v=STSv1;\n id=1", ["record-control"], "v=STSv1;  id=1"),
        ("v=STSv1; id = 1", ["record-blanks-at-equals"], "v=STSv1; id=1"),
        ("v = STSv1; id=1", ["record-blanks-at-equals"], "v=STSv1; id=1"),
        ("v:STSv1; id:1", ["record-colon"], "v=STSv1; id=1"),
        ("v=STSv1; ID=1", ["record-field-case"], "v=STSv1; id=1"),
        ("v=STSv1", ["record-no-id"], "v=STSv1; id=1;"),
        ("v=STSv1; id=;", ["record-no-id"], "v=STSv1; id=1;"),
        ("v=STSv1; id=2026-11-27", ["record-id"], "v=STSv1; id=20261127;"),
        ("v=STSv1; id=2026_11", ["record-id"], "v=STSv1; id=202611;"),
        ("v=STSv1; id=2026 11", ["record-id"], "v=STSv1; id=202611;"),
        ("v=STSv1; id=" + "7" * 40, ["record-id"], f"v=STSv1; id={'7' * 32};"),
        ("v=STSv1; id=1; x y", ["record-field"], "v=STSv1; id=1;"),
        ("version: STSv1 mode: enforce mx: a.x.test", ["record-policy"], "v=STSv1; id=1;"),
        (
            '_mta-sts.x.test. 3600 IN TXT "v=STSv1; id=1"',
            ["record-zone-line", "record-quotes"],
            "v=STSv1; id=1",
        ),
        ('"v=STS1, id=a-b', ["record-quotes", "record-version", "record-comma", "record-id"], None),
    ],
)
def test_table(text: str, found: list[str], write: str | None) -> None:
    """Each mistake has its code, and all of them the record without any."""
    mistakes = in_record(text)
    assert codes(mistakes) == found
    for mistake in mistakes:
        assert mistake.place is Place.RECORD
        assert mistake.write.startswith(f'{RECORD}. IN TXT "v=STSv1;')
        assert write is None or text_to_write(mistake) == write.encode()
        assert parse_records([text_to_write(mistake)])


def test_a_blank_before_the_semicolon_matters_beside_other_records() -> None:
    """RFC 8461 §3.1 discards such a record then; alone it is valid (erratum 6285)."""
    (mistake,) = in_record("v=STSv1 ; id=1", SPF)
    assert mistake.code == "record-blank-before-semicolon"
    assert parse_records([SPF, text_to_write(mistake)]) == "1"
    assert in_record("v=STSv1 ; id=1") == ()


def test_several() -> None:
    """Of several records one is to be kept."""
    (mistake,) = in_record(GOOD, "v=STSv1; id=2", SPF)
    assert mistake.code == "record-several"
    assert text_to_write(mistake) == GOOD


def test_split() -> None:
    """A record whose fields are in two TXT records is put together."""
    (mistake,) = in_record("v=STSv1;", "id=1;")
    assert mistake.code == "record-split"
    assert text_to_write(mistake) == b"v=STSv1; id=1"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("_mta_sts.x.test", "record-name-underscore"),
        ("mta-sts.x.test", "record-name-no-underscore"),
        ("_mtasts.x.test", "record-name-no-hyphen"),
        ("_mta-sts.x.test.x.test", "record-name-doubled"),
        ("x.test", "record-name-parent"),
    ],
)
def test_wrong_name(name: str, code: str) -> None:
    """A record at a wrong name is to be moved to the right one; beside a good one it is none."""
    near = (Texts(name, (SPF, GOOD)), Texts("_tls.x.test", (SPF,)))
    (mistake,) = find_mistakes(Seen(DOMAIN, record=Texts(RECORD, ()), near=near))
    assert (mistake.code, mistake.place) == (code, Place.RECORD)
    assert mistake.write == f'{RECORD}. IN TXT "v=STSv1; id=1"'
    assert find_mistakes(Seen(DOMAIN, record=Texts(RECORD, (GOOD,)), near=near)) == ()
    assert find_mistakes(Seen(DOMAIN, near=near)) == ()  # the right name is not known


def test_the_near_names_are_few() -> None:
    """The number of names to ask is bounded; no name is asked twice, and the right ones not."""
    names = near_names(DOMAIN)
    assert len(set(names)) == len(names) <= 12
    assert not {RECORD, TLSRPT} & set(names)


def test_alias_to_nothing() -> None:
    """A CNAME that leads to no TXT record is named with its target."""
    here = Texts(RECORD, (), ("_mta-sts.host.test", "gone.host.test"))
    (mistake,) = find_mistakes(Seen(DOMAIN, record=here))
    assert mistake.code == "record-alias"
    assert "gone.host.test" in mistake.found


def test_alias_for_all_names() -> None:
    """A CNAME that stands for all names of a domain, such as that of a web host, is no mistake."""
    here = Texts(RECORD, (), ("sites.host.test", "edge7.cdn.test"))
    assert find_mistakes(Seen(DOMAIN, record=here)) == ()


@pytest.mark.parametrize("texts", [[], [SPF], [b"google-site-verification=id"], [b"MS=ms1", SPF]])
def test_no_record_is_no_mistake(texts: list[bytes]) -> None:
    """A domain without a record, or with records of other kinds, has made no mistake."""
    assert in_record(*texts) == ()


@given(generated.records, st.lists(st.just(SPF), max_size=1))
def test_a_valid_record_has_no_mistake(text: bytes, others: list[bytes]) -> None:
    """There is no false alarm for any record that the ABNF generates."""
    try:
        parse_records([text, *others])
    except NoRecordError:  # "v=STSv1 ;" counts only if it is alone
        assert in_record(text, *others)
    else:
        assert in_record(text, *others) == ()


_MUTATIONS = st.lists(
    st.sampled_from(['"', " ", ";", ",", "=", ":", "-", "\\", "\u00fc", "v", "id", "\t", "\n"]),
    min_size=1,
    max_size=3,
)


@given(generated.ids, _MUTATIONS, st.data())
def test_what_is_to_be_written_is_valid(
    policy_id: str, mutations: list[str], data: st.DataObject
) -> None:
    """Whatever is inserted in a record: the parsers accept it, or a record to write is named."""
    text = f"v=STSv1; id={policy_id};"
    for mutation in mutations:
        at = data.draw(st.integers(6, len(text)))
        text = text[:at] + mutation + text[at:]
    mistakes = in_record(text)
    codes(mistakes)
    try:
        parse_records([text.encode()])
    except (InvalidRecordError, NoRecordError):
        assert mistakes
        assert all(parse_records([text_to_write(mistake)]) for mistake in mistakes)
    else:
        assert mistakes == ()


@given(st.lists(st.one_of(st.binary(max_size=80), st.builds(GOOD.__add__, st.binary()))))
def test_any_bytes(texts: list[bytes]) -> None:
    """Any RRset gives printable mistakes, each with a valid record."""
    mistakes = in_record(*texts)
    codes(mistakes)
    assert all(parse_records([text_to_write(mistake)]) for mistake in mistakes)


def test_a_long_text_takes_linear_time() -> None:
    """A record of 64 KiB is looked at only in part."""
    for text in ("v=STSv1" + " " * 65_000 + "x", "v=STSv1;" * 8000, "id=" + "a" * 65_000):
        assert in_record(text)
