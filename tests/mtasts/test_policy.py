"""Parsing a policy file gives a `Policy` or an error with the line (RFC 8461 §3.2, §4.1)."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError
from postfix_mta_sts.mtasts.policy import (
    MAX_AGE_LIMIT,
    MX_LIMIT,
    Mode,
    parse_policy,
    parse_stored_policy,
)

GOOD = b"version: STSv1\nmode: enforce\nmx: mx1.good.test\nmx: *.good.test\nmax_age: 604800\n"


def with_field(line: bytes) -> bytes:
    """Return a valid policy plus this line as its fifth."""
    return b"version: STSv1\nmode: enforce\nmx: mx1.good.test\nmax_age: 1\n" + line


def test_valid() -> None:
    """Mode, patterns in order and max_age are read; the text is kept as it was served."""
    policy = parse_policy(GOOD)
    assert policy.mode is Mode.ENFORCE
    assert list(policy.mx) == ["mx1.good.test", "*.good.test"]
    assert policy.max_age == 604800
    assert policy.text.encode() == GOOD
    assert policy.lines == tuple(GOOD.decode().splitlines())


@pytest.mark.parametrize(
    "body",
    [
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"\n", b"\r\n", 2),
        GOOD.rstrip(b"\n"),
        GOOD.rstrip(b"\n") + b"\r",
        b"\n".join(reversed(GOOD.splitlines())),
        GOOD.replace(b": ", b":"),
        GOOD.replace(b": ", b": \t ").replace(b"\n", b" \t\n"),
        GOOD + b"\r\n\n",
        b"\n" + GOOD,
        b" \n" + GOOD + b"\t \r\n  ",
        GOOD + b"mode: none\nversion: STSv2\nmax_age: soon\n",
        GOOD + "x-note: gr\u00fc\u00dfe: a b, c\u2028\u0085d\n".encode(),
        GOOD + b"MX: *\nMode: none\n" + b"n" * 32 + b": v\n",
        GOOD + b"mx: MX1.good.TEST\n",
    ],
)
def test_same_policy(body: bytes) -> None:
    """Line ends, order, blanks, repeats and unknown fields change nothing (P1-P4, P9, P10)."""
    policy, good = parse_policy(body), parse_policy(GOOD)
    assert policy.mode is good.mode
    assert set(policy.mx) == set(good.mx)
    assert len(policy.mx) == len(good.mx)
    assert policy.max_age == good.max_age


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no version field"),
        (b"version: STSv1\nmx: a.test\nmax_age: 1", "no mode field"),
        (b"version: STSv1\nmode: enforce\nmx: a.test", "no max_age field"),
        (b"version: STSv1\nmode: enforce\nmax_age: 1", "no mx field; mode enforce requires one"),
        (b"version: STSv1\nmode: testing\nmax_age: 1", "no mx field; mode testing requires one"),
        (b"version: STSv2\nmode: none\nmax_age: 1", "line 1: version is not STSv1: 'STSv2'"),
        (b"version: stsv1\nmode: none\nmax_age: 1", "line 1: version is not STSv1: 'stsv1'"),
        (GOOD.replace(b"enforce", b"Enforce"), "line 2: mode is not enforce, testing or none"),
        (GOOD.replace(b"mode:", b"Mode:"), "no mode field"),
        (GOOD.replace(b"version:", b"version :"), "line 1: malformed field name 'version '"),
        (b" " + GOOD, "line 1: malformed field name ' version'"),
        (b"\xef\xbb\xbf" + GOOD, r"line 1: malformed field name '\\ufeffversion'"),
        (with_field(b"# comment"), "line 5: no colon: '# comment'"),
        (with_field(b"folded:\n value"), "line 5: folded has no value"),
        (with_field(b" x"), "line 5: no colon"),
        (with_field(b"mx: *."), r"line 5: mx: '\*\.' names no host"),
        (with_field(b"mx: a.test.."), r"line 5: mx: not a domain name: 'a\.test\.\.'"),
        (with_field(b"x:"), "line 5: x has no value"),
        (with_field(b"x: \t "), "line 5: x has no value"),
        (with_field(b"-x: 1"), "line 5: malformed field name '-x'"),
        (with_field(b"n" * 33 + b": v"), "line 5: malformed field name"),
        (with_field(b"x: a\tb"), "line 5: x has a control character"),
        (with_field(b"x: a\rmx: b.test"), "line 5: x has a control character"),
        (with_field(b"x: \xff"), "line 5: not UTF-8"),
        (with_field(b"x: \xed\xa0\x80"), "line 5: not UTF-8"),
        (with_field(b"mx: a.test\rmode: none"), "line 5: mx has a control character"),
    ],
)
def test_invalid(body: bytes, reason: str) -> None:
    """An error has the line and the reason, in printable ASCII."""
    with pytest.raises(InvalidPolicyError) as caught:
        parse_policy(body)
    assert re.match(reason, str(caught.value))
    assert re.fullmatch(r"[ -~]+", str(caught.value))


@pytest.mark.parametrize(
    "separator", ["\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
)
def test_nothing_else_ends_a_line(separator: str) -> None:
    """Line ends of str.splitlines do not separate fields (P1)."""
    body = GOOD + f"x: a{separator}mx: evil.test\n".encode()
    try:
        policy = parse_policy(body)
    except InvalidPolicyError:
        return
    assert "evil.test" not in policy.mx


@pytest.mark.parametrize(
    ("digits", "seconds"),
    [
        ("0", 0),
        ("86400", 86400),
        ("0000000060", 60),
        ("31557600", MAX_AGE_LIMIT),
        ("31557601", MAX_AGE_LIMIT),
        ("9999999999", MAX_AGE_LIMIT),
    ],
)
def test_max_age(digits: str, seconds: int) -> None:
    """Up to ten digits; larger values are reduced to the limit (P6, erratum 7282)."""
    assert parse_policy(GOOD.replace(b"604800", digits.encode())).max_age == seconds


@pytest.mark.parametrize(
    "value",
    ["+5", "-5", "5.0", "1e3", "604_800", "0x10", "12345678901", "\u0666", "\u00b2", "5 5", "5s"],
)
def test_max_age_is_ascii_digits(value: str) -> None:
    """Other texts that int() accepts are refused (P6)."""
    with pytest.raises(InvalidPolicyError, match="line 5: max_age is not 1 to 10 digits, in sec"):
        parse_policy(GOOD.replace(b"604800", value.encode()))


@pytest.mark.parametrize(
    "value",
    [
        "hostname",
        "nexthop",
        "dot-nexthop",
        "mail",
        ".good.test",
        "*",
        "*.",
        "**.good.test",
        "*good.test",
        "a.*.test",
        "*.*.test",
        "mx1.good.test.",
        "mx1..good.test",
        "b\u00fccher.test",
        "\u212a.test",
        "mx1.good.test servername=x",
        "mx1.good.test,mx2.good.test",
        "a.test:b.test",
        "a.test}",
        "{a.test",
        "a=b.test",
        "[192.0.2.1]",
        "mx1.good.test:25",
        "under_score.test",
        "a" * 64 + ".test",
    ],
)
def test_an_invalid_mx_makes_the_policy_invalid(value: str) -> None:
    """Even among valid ones and in any mode; the error has its line (P7, P8, P11, X4)."""
    for mode in (b"enforce", b"none"):
        body = with_field(f"mx: {value}\n".encode()).replace(b"enforce", mode)
        with pytest.raises(InvalidPolicyError, match="line 5: mx"):
            parse_policy(body)


def test_mode_none_needs_no_mx() -> None:
    """A domain that leaves MTA-STS names no hosts (P4, §8.3)."""
    policy = parse_policy(b"version: STSv1\nmode: none\nmax_age: 86400\n")
    assert policy.mode is Mode.NONE
    assert policy.mx == ()


def with_hosts(number: int, repeats: int = 1) -> bytes:
    """Return a policy with this many patterns, each of them repeated in upper case."""
    hosts = [f"mx: h{n}.good.test\n" for n in range(number)] * repeats
    repeated = [host.upper().replace("MX:", "mx:") for host in hosts]
    return with_field("".join(hosts + repeated).encode())


def test_too_many_patterns() -> None:
    """At most `MX_LIMIT` patterns, without repeats; a stored policy may have more."""
    assert len(parse_policy(with_hosts(MX_LIMIT - 1, repeats=5)).mx) == MX_LIMIT
    body = with_hosts(MX_LIMIT)
    with pytest.raises(InvalidPolicyError, match="201 different mx fields; at most 200 are"):
        parse_policy(body)
    assert len(parse_stored_policy(body).mx) == MX_LIMIT + 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"mx: -", "mx: not a domain name: '-'"),
        (b"mx: hostname", "mx: not a fully qualified host name: 'hostname'"),
        (b"mx: " + b"a." * 126 + b"test", "mx: longer than 253 characters"),
        (b"mx:", "mx has no value"),
        (b"x", "no colon: 'x'"),
    ],
)
def test_the_line_of_an_error_in_a_large_policy(line: bytes, reason: str) -> None:
    """The first line with the fault is named, after thousands of valid ones."""
    body = with_hosts(700, repeats=2) + line + b"\nx: y\n" + line + b"\n"
    with pytest.raises(InvalidPolicyError) as caught:
        parse_policy(body)
    assert str(caught.value) == f"line {5 + 4 * 700}: {reason}"


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mx1.good.test", True),
        ("MX1.GOOD.test", True),
        ("mail.wild.test", True),
        ("wild.test", False),
        ("a.mail.wild.test", False),
        ("mx2.good.test", False),
        ("xmx1.good.test", False),
        ("good.test", False),
        ("ildwild.test", False),
    ],
)
def test_mx_matching(host: str, *, allowed: bool) -> None:
    """A wildcard stands for exactly the left-most label; case is ignored (M1-M3, §4.1)."""
    policy = parse_policy(GOOD.replace(b"*.good.test", b"*.Wild.test"))
    assert policy.allows(parse_domain(host)) is allowed


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=40).map(GOOD.__add__)))
def test_any_bytes(body: bytes) -> None:
    """Any body gives a policy with valid names, or an error of one printable line."""
    try:
        policy = parse_policy(body)
    except InvalidPolicyError as error:
        assert re.fullmatch(r"[ -~]+", str(error))
        return
    assert 0 <= policy.max_age <= MAX_AGE_LIMIT
    assert policy.mx or policy.mode is Mode.NONE
    assert all(re.fullmatch(r"(\*\.)?[a-z0-9.-]+", mx) for mx in policy.mx)
    assert parse_policy(policy.text.encode()) == policy


_LABELS = st.sampled_from(
    ["a", "mx-1", "0", "-a", "a-", "A", "_a", "*", "\u00e9", "", "b" * 63, "b" * 64]
)
_HOSTS = st.lists(_LABELS, min_size=1, max_size=5).map(".".join)
_NEARLY_COMMON = st.builds(
    "version: STSv1{0}mode: {1}{0}{2}max_age: {3}{4}".format,
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([*Mode, "Enforce"]),
    st.lists(_HOSTS.map("mx: {}\n".format), max_size=4).map("".join),
    st.sampled_from(["0", "604800", "9999999999", "99999999999", "", "1s"]),
    st.sampled_from(["", "\r", "\n", "\r\n", "\n\n"]),
)


def outcome(body: bytes) -> object:
    """Return the fields of a policy, or the reason of the error."""
    try:
        policy = parse_policy(body)
    except InvalidPolicyError as error:
        return str(error)
    return policy.mode, policy.mx, policy.max_age


@given(_NEARLY_COMMON.map(str.encode))
@example(GOOD.replace(b"mx1.good", b".".join([b"b" * 63] * 4)))
def test_both_parsers_agree(body: bytes) -> None:
    """The parser of the common form gives the same result as the general one."""
    assert outcome(body) == outcome(body.replace(b"version: ", b"version:\t"))
