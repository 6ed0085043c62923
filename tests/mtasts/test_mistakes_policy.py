"""Mistakes in a policy file, and the lines to write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.errors import InvalidPolicyError
from postfix_mta_sts.mtasts.mistakes import (
    MOST,
    NEXT_LINE,
    MailName,
    Mistake,
    Place,
    Seen,
    find_mistakes,
)
from postfix_mta_sts.mtasts.policy import MX_LIMIT, Mode, parse_policy
from tests.support import generated
from tests.support.mistakes import DOMAIN, MX, codes, in_policy

GOOD = "version: STSv1\nmode: enforce\nmx: *.x.test\nmax_age: 604800\n"
VERSION, MODE, MX_LINE, MAX_AGE, _ = GOOD.split("\n")
HOSTS = "mx: mx1.x.test / mx: mx2.x.test"
LEAVE_OUT = "leave this line out"


def corrected(line: str, mistake: Mistake, instead_of: str) -> str:
    """The policy with what is to be written instead of a line."""
    right = "" if mistake.write == LEAVE_OUT else mistake.write.replace(NEXT_LINE, "\n")
    return GOOD.replace(instead_of, line).replace(line, right)


@pytest.mark.parametrize(
    ("line", "found", "write"),
    [
        ("nmx: *.x.test", ["misspelt-mx"], MX_LINE),
        ("MX: *.x.test", ["misspelt-mx"], MX_LINE),
        ("mx1: mx.x.test", ["misspelt-mx"], "mx: mx.x.test"),
        ("mx: a.x.test, b.x.test", ["mx-list"], "mx: a.x.test / mx: b.x.test"),
        ("mx: a.x.test b.x.test", ["mx-list"], "mx: a.x.test / mx: b.x.test"),
        ("mx: 10 a.x.test", ["mx-preference"], "mx: a.x.test"),
        ("mx: IN MX 10 a.x.test", ["mx-zone-line"], "mx: a.x.test"),
        ("x.test. IN MX 10 a.x.test.", ["mx-zone-line", "mx-final-dot"], "mx: a.x.test"),
        ("mx: a.x.test.", ["mx-final-dot"], "mx: a.x.test"),
        ("mx: a.x.test..", ["mx-final-dot"], "mx: a.x.test"),
        ("mx: *", ["mx-star"], HOSTS),
        ("mx: *.", ["mx-star"], HOSTS),
        ("mx: *.*.x.test", ["mx-two-stars"], MX_LINE),
        ("mx: mx*.x.test", ["mx-part-star"], MX_LINE),
        ("mx: a.*.x.test", ["mx-value"], HOSTS),
        ("mx: .x.test", ["mx-leading-dot"], MX_LINE),
        ("mx: a@x.test", ["mx-mail-address"], HOSTS),
        ("mx: https://a.x.test/", ["mx-url"], "mx: a.x.test"),
        ("mx: smtp://a.x.test:25/", ["mx-url", "mx-port"], "mx: a.x.test"),
        ("mx: a.x.test:25", ["mx-port"], "mx: a.x.test"),
        ("mx: 192.0.2.1", ["mx-address"], HOSTS),
        ("mx: *.1.2.3.4", ["mx-address"], HOSTS),
        ("mx: [192.0.2.1]", ["mx-address"], HOSTS),
        ("mx: 2001:db8::1", ["mx-address"], HOSTS),
        ("mx: <a.x.test>", ["mx-brackets"], "mx: a.x.test"),
        ("mx: mail", ["mx-single-label"], HOSTS),
        ("mx: a_b.x.test", ["mx-value"], HOSTS),
        ("mx: *.b\u00fccher.test", ["mx-u-label"], "mx: *.xn--bcher-kva.test"),
        ("mx: ; a.x.test", ["mx-value"], "mx: a.x.test"),
        ("mx: \u00fc_.test", ["mx-value"], HOSTS),
        ("mx:", ["mx-empty"], HOSTS),
        ('mx: "a.x.test"', ["policy-quotes"], "mx: a.x.test"),
        ("mx: a.x.test;", ["policy-final-semicolon"], "mx: a.x.test"),
        ("mx: a.x.test # main", ["policy-comment"], "mx: a.x.test"),
        ("mx = a.x.test", ["policy-equals"], "mx: a.x.test"),
        ("mx : a.x.test", ["policy-blank-before-colon"], "mx: a.x.test"),
        ("mx a.x.test", ["policy-no-colon"], "mx: a.x.test"),
        ('mx": a.x.test', ["policy-quotes"], "mx: a.x.test"),
        (" mx: a.x.test", ["policy-indented"], "mx: a.x.test"),
        ("- mx: a.x.test", ["policy-list-mark"], "mx: a.x.test"),
        ('"mx": "a.x.test",', ["policy-quotes", "policy-final-semicolon"], "mx: a.x.test"),
        ("mx: a.x\x00.test", ["policy-control"], "mx: a.x.test"),
        ("version=STSv1", ["policy-equals"], VERSION),
        ("version: STSv1;", ["policy-final-semicolon"], VERSION),
        ("version: 'STSv1'", ["policy-quotes"], VERSION),
        ("version: STS1", ["policy-version"], VERSION),
        ("version: stsv1", ["policy-version"], VERSION),
        ("Version: STSv1", ["misspelt-version"], VERSION),
        ("vesion: STSv1", ["misspelt-version"], VERSION),
        ("mode: enforced", ["policy-mode"], MODE),
        ("mode: Enforce", ["policy-mode"], MODE),
        ("mode: strict", ["policy-mode"], MODE),
        ("mode: test", ["policy-mode"], "mode: testing"),
        ("mode: off", ["policy-mode"], "mode: none"),
        ("mode: 1", ["policy-mode"], "mode: testing"),
        ("mode: 'enforce'", ["policy-quotes"], MODE),
        ("mod: enforce", ["misspelt-mode"], MODE),
        ("max_age: 7d", ["policy-max-age"], MAX_AGE),
        ("max_age: 1 week", ["policy-max-age"], MAX_AGE),
        ("max_age: 7 days", ["policy-max-age"], MAX_AGE),
        ("max_age: 604,800", ["policy-max-age"], MAX_AGE),
        ("max_age: 604800s", ["policy-max-age"], MAX_AGE),
        ("max_age: 604800.0", ["policy-max-age"], MAX_AGE),
        ("max_age: -1", ["policy-max-age"], MAX_AGE),
        ("max_age: 99999999999", ["policy-max-age"], "max_age: 31557600"),
        ("max-age: 604800", ["misspelt-max-age"], MAX_AGE),
        ("max age: 604800", ["misspelt-max-age"], MAX_AGE),
        ("maxage: 604800", ["misspelt-max-age"], MAX_AGE),
        ("# comment", ["policy-comment", "missing-mx"], LEAVE_OUT),
        ("```", ["policy-foreign-line", "missing-mx"], LEAVE_OUT),
        ("nonsense", ["policy-no-field", "missing-mx"], LEAVE_OUT),
        ("x_: a\x00b", ["policy-no-field", "missing-mx"], LEAVE_OUT),
    ],
)
def test_lines(line: str, found: list[str], write: str) -> None:
    """Each mistake in a line has its code and the line to write, with which the file is valid."""
    instead_of = next(
        (each for each in (VERSION, MODE, MAX_AGE) if each[:3].lower() == line.lower()[:3]), None
    ) or {"ves": VERSION}.get(line[:3], MX_LINE)
    mistakes = in_policy(GOOD.replace(instead_of, line))
    assert codes(mistakes) == found
    assert all(mistake.place is Place.POLICY for mistake in mistakes)
    assert mistakes[0].write == write
    if found[-1] != "missing-mx":
        parse_policy(corrected(line, mistakes[0], instead_of).encode())


@pytest.mark.parametrize(
    ("line", "code", "write"),
    [
        (VERSION, "missing-version", VERSION),
        (MODE, "missing-mode", "mode: testing"),
        (MX_LINE, "missing-mx", HOSTS),
        (MAX_AGE, "missing-max-age", MAX_AGE),
    ],
)
def test_missing_fields(line: str, code: str, write: str) -> None:
    """A missing field is named with its line; without MX records, the domain is its own host."""
    (mistake,) = in_policy(GOOD.replace(f"{line}\n", ""))
    assert (mistake.code, mistake.write) == (code, write)


@pytest.mark.parametrize(
    ("mx", "write"), [(None, "one line for each MX host: mx: and its name"), ((), "mx: x.test")]
)
def test_the_mx_hosts_to_write(mx: tuple[MailName, ...] | None, write: str) -> None:
    """MX hosts that are not known cannot be named; without MX records the domain is the host."""
    (mistake,) = in_policy(GOOD.replace(MX_LINE, "mx: *"), mx)
    assert mistake.write == write


WHOLE = NEXT_LINE.join([VERSION, MODE, MX_LINE, MAX_AGE])
SAMPLE = NEXT_LINE.join([VERSION, "mode: testing", HOSTS, MAX_AGE])


@pytest.mark.parametrize(
    ("body", "code", "write"),
    [
        ("", "policy-empty", SAMPLE),
        (" \r\n", "policy-empty", SAMPLE),
        (f"<!DOCTYPE html><title>x</title>\n{GOOD}", "policy-html", SAMPLE),
        (GOOD.replace("\n", "<br>\n"), "policy-html", SAMPLE),
        ('{"version": "STSv1"}', "policy-json", SAMPLE),
        (r"{\rtf1 version: STSv1}", "policy-rtf", SAMPLE),
        ("v=STSv1; id=1", "policy-record", SAMPLE),
        (GOOD.replace("\n", " "), "policy-one-line", WHOLE),
        (GOOD.replace("\n", ", "), "policy-one-line", WHOLE),
        (GOOD.replace("\n", r"\n"), "policy-literal-newline", WHOLE),
        (GOOD.replace("\n", "\r"), "policy-cr", WHOLE),
        ("\ufeff" + GOOD, "policy-bom", "save the file as plain ASCII"),
        (GOOD.encode("utf-16"), "policy-utf-16", "save the file as plain ASCII"),
        (GOOD.encode("utf-16-le"), "policy-utf-16", "save the file as plain ASCII"),
        (GOOD.encode("utf-16-be"), "policy-utf-16", "save the file as plain ASCII"),
        (f"{GOOD}x: \u00fc".encode("latin-1"), "policy-not-utf-8", "save the file as plain ASCII"),
    ],
)
def test_whole_files(body: str | bytes, code: str, write: str) -> None:
    """What is no policy file at all is named, with a policy to write."""
    (mistake,) = in_policy(body)
    assert (mistake.code, mistake.write) == (code, write)
    if NEXT_LINE in write:
        parse_policy(write.replace(NEXT_LINE, "\n").encode())


def test_what_is_not_recognised() -> None:
    """A file without any of these mistakes that the parser refuses is told with its reason."""
    many = "".join(f"mx: mx{n}.x.test\n" for n in range(MX_LIMIT + 1))
    (mistake,) = in_policy(GOOD.replace(MX_LINE, many.strip()))
    assert (mistake.code, mistake.write) == ("policy-other", SAMPLE)
    assert mistake.found.startswith("201 different mx fields")


def test_many_mistakes() -> None:
    """The number of mistakes is limited, whatever the file is."""
    assert len(in_policy("mx: *..\n" * 8000)) <= MOST
    assert len(in_policy("".join(f"mx: a_{n}\n" for n in range(8000)))) == MOST
    assert in_policy("x" * 65_000)
    assert in_policy("mx:" * 20_000)


@pytest.mark.parametrize(
    "body",
    [
        "version: STSv1 mode: none" + " " * 60_000 + "x",
        "version: STSv1\nmx: a" + " ;" * 30_000 + "x",
        "mx: a" + " " * 60_000 + "x",
        " " * 60_000 + "x",
        "<p" * 30_000,
        "{" * 60_000,
        "mx: " + "*." * 30_000,
        "mx: " + "a@" * 30_000,
        "\n" * 60_000 + "x",
        "mode : " * 9_000,
    ],
)
def test_a_hostile_file_takes_linear_time(body: str) -> None:
    """A file of 64 KiB is looked at only in part; quadratic patterns would take minutes."""
    assert in_policy(body)


@given(generated.policies())
def test_a_policy_that_works_has_no_mistake(policy: tuple[bytes, str]) -> None:
    """There is no false alarm for any policy that the ABNF generates and a host conforms to."""
    body, host = policy
    assert in_policy(body, (MailName(host), MailName("other.test"))) == ()
    assert in_policy(body, None) == ()


@given(st.integers(0, 9_999_999_999))
def test_mode_none_needs_nothing(max_age: int) -> None:
    """A policy in mode none withdraws one: no host and a short max_age are right for that."""
    body = f"version: STSv1\nmode: none\nmx: a.other.test\nmax_age: {max_age}\n"
    assert in_policy(body) == ()


_INSERTED = st.sampled_from(
    ['"', " ", ";", ",", "=", ":", "-", "#", "x", "\n", "\r", "\t", ".", "*", "1", "\u00fc", "\0"]
)


@given(st.lists(_INSERTED, min_size=1, max_size=3), st.data())
def test_each_refused_file_has_a_mistake(inserted: list[str], data: st.DataObject) -> None:
    """Whatever is inserted in a policy: the parser accepts it, or there is a mistake."""
    text = GOOD
    for each in inserted:
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + each + text[at:]
    mistakes = in_policy(text)
    codes(mistakes)
    try:
        parse_policy(text.encode())
    except InvalidPolicyError:
        assert mistakes


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=40).map(GOOD.encode().__add__)))
def test_any_bytes(body: bytes) -> None:
    """Any body gives printable mistakes."""
    codes(in_policy(body))


def test_the_mode_of_a_sample_harms_nobody() -> None:
    """A policy that replaces what cannot be read is in mode testing."""
    assert parse_policy(SAMPLE.replace(NEXT_LINE, "\n").encode()).mode is Mode.TESTING


def test_without_a_body_there_is_no_mistake() -> None:
    """What is not known is no mistake."""
    assert find_mistakes(Seen(DOMAIN, mx=MX)) == ()
