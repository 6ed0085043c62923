"""The policy file → a frozen `Policy`, and which MX hosts it allows (RFC 8461 §3.2, §4.1).

Border: the body's bytes come in as the Policy Host served them. The text is kept as it was; all
else in a `Policy` is read from it, so that what is stored, reported and applied is one thing.
"""

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NewType, cast

from postfix_mta_sts.mtasts.domain import MAX_LENGTH, Domain, parse_host
from postfix_mta_sts.mtasts.errors import InvalidDomainError, InvalidPolicyError, printable
from postfix_mta_sts.values import Value

MAX_AGE_LIMIT: Final = 31_557_600
"""Seconds: the largest max_age (§3.2); what is above is clamped to it (erratum 7282)."""

#   sts-policy-ext-name = (sts-policy-alphanum) *31(sts-policy-alphanum / "_" / "-" / ".")
#   sts-policy-field-delim = ":" *WSP
#   sts-policy-ext-value = vchar [*(%x20 / vchar) vchar]        vchar = %x21-7E / UTF8-2/3/4
# C1 controls are UTF8-2 by the grammar, and so allowed; C0 controls and DEL are not.
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
_CONTROL = r"\x00-\x1f\x7f"
_VALUE = rf"[^{_CONTROL} ](?:[^{_CONTROL}]*[^{_CONTROL} ])?"
_FIELD = re.compile(rf"^({_NAME}):[ \t]*({_VALUE})[ \t]*\r?$", re.MULTILINE)
_MAX_AGE = re.compile(r"[0-9]{1,10}")


class Mode(enum.StrEnum):
    """What a Sending MTA does where a policy fails to validate (§3.2, §5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


_MODES: Final[Mapping[str, Mode]] = {mode.value: mode for mode in Mode}

# The form in which nearly all are written. Not every name that fits is short enough to be one.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_MX = rf"mx: (?:\*\.|{_LABEL}\.){_LABEL}(?:\.{_LABEL})*\r?\n"
_USUAL = re.compile(
    rf"version: STSv1\r?\nmode: ({'|'.join(_MODES)})\r?\n((?:{_MX})+)"
    r"max_age: ([0-9]{1,10})(?:\r?\n)?"
)

MxPattern = NewType("MxPattern", str)
"""One `mx` field: a host name, or `*.` and a domain, in lower case (§3.2)."""


def matches(pattern: MxPattern, host: Domain) -> bool:
    """Whether an MX host fits: `*` stands for the whole left-most label only (§4.1)."""
    return pattern in {host, f"*.{host.partition('.')[2]}"}


class Policy(Value, frozen=True):
    """A valid policy; made by `parse_policy`."""

    text: str
    """The file as it was served."""
    mode: Mode
    mx: tuple[MxPattern, ...]
    """In the file's order, without repeats; empty only in mode none."""
    max_age: int
    """Seconds from the fetch, 0 to `MAX_AGE_LIMIT`."""

    def allows(self, host: Domain) -> bool:
        """Whether at least one pattern matches an MX host (§4.1)."""
        return any(matches(pattern, host) for pattern in self.mx)

    @property
    def lines(self) -> tuple[str, ...]:
        """The fields as declared, one a line, as RFC 8460 §4.4 reports them."""
        return tuple(line for line in _lines(self.text) if line)


def parse_policy(body: bytes) -> Policy:
    """The policy that a file of at most 64 KiB declares.

    Raises `InvalidPolicyError` with the line and what was wrong with it.
    """
    text = _decode(body)
    return _usual(text) or _any(text)


def _usual(text: str) -> Policy | None:
    """What `_any` would say, in a third of the time; None where it has to be asked.

    Each look-up from the store parses a policy.
    """
    fields = _USUAL.fullmatch(text)
    if not fields:
        return None
    mode, mx, max_age = fields.groups()
    patterns = cast("tuple[MxPattern, ...]", tuple(dict.fromkeys(mx.split()[1::2])))
    if max(map(len, patterns)) > MAX_LENGTH:
        return None
    return Policy(text, _MODES[mode], patterns, min(int(max_age), MAX_AGE_LIMIT))


def _any(text: str) -> Policy:
    values: dict[str, tuple[int, str]] = {}  # the first of each field: (line number, value)
    mx: dict[MxPattern, None] = {}  # an ordered set
    for number, name, value in _fields(text):
        if name == "mx":
            mx[_parse_mx(number, value)] = None
        else:
            values.setdefault(name, (number, value))
    _parse_version(*_required(values, "version"))
    mode = _parse_mode(*_required(values, "mode"))
    max_age = _parse_max_age(*_required(values, "max_age"))
    if not mx and mode is not Mode.NONE:
        raise InvalidPolicyError(0, f"no mx field, which mode {mode} needs")
    return Policy(text, mode, tuple(mx), max_age)


def _decode(body: bytes) -> str:
    # Always UTF-8, whatever charset the server names. A byte order mark stays, and fails as
    # part of the first field's name.
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise InvalidPolicyError(line, "not UTF-8") from error


def _lines(text: str) -> list[str]:
    # sts-policy-term = LF / CRLF, and nothing else: str.splitlines knows eleven line ends.
    return [line.removesuffix("\r") for line in text.split("\n")]


def _fields(text: str) -> Iterable[tuple[int, str, str]]:
    """The number, name and value of each line that is not blank."""
    fields = _FIELD.findall(text)
    if len(fields) == text.count("\n") + (not text.endswith("\n")):
        return ((number, *field) for number, field in enumerate(fields, 1))  # every line is one
    return _fields_one_by_one(text)


def _fields_one_by_one(text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if field := _FIELD.fullmatch(line):
            yield number, field[1], field[2]
        elif line.removesuffix("\r"):  # open in the RFC; a blank line changes nothing of the others
            raise InvalidPolicyError(number, _what_is_wrong(line.removesuffix("\r")))


def _what_is_wrong(line: str) -> str:
    """Why a line is no field."""
    name, colon, value = line.partition(":")
    if not colon:
        return f"no colon: '{printable(line)}'"
    if not re.fullmatch(_NAME, name):
        return f"malformed field name '{printable(name)}'"
    if control := re.search(f"[{_CONTROL}]", value.strip(" \t")):
        return f"{name} has a control character {control[0]!r}"
    return f"{name} has no value"


def _required(values: dict[str, tuple[int, str]], name: str) -> tuple[int, str]:
    if name not in values:
        raise InvalidPolicyError(0, f"no {name} field")
    return values[name]


def _parse_version(number: int, value: str) -> None:
    if value != "STSv1":
        raise InvalidPolicyError(number, f"version is not STSv1: '{printable(value)}'")


def _parse_mode(number: int, value: str) -> Mode:
    if value not in _MODES:
        reason = f"mode is not enforce, testing or none: '{printable(value)}'"
        raise InvalidPolicyError(number, reason)
    return _MODES[value]


def _parse_max_age(number: int, value: str) -> int:
    if not _MAX_AGE.fullmatch(value):
        raise InvalidPolicyError(number, f"max_age is not 1 to 10 digits: '{printable(value)}'")
    return min(int(value), MAX_AGE_LIMIT)


def _parse_mx(number: int, value: str) -> MxPattern:
    wildcard = value.startswith("*.")
    try:
        host = parse_host(value.removeprefix("*."))
    except InvalidDomainError as error:
        raise InvalidPolicyError(number, f"mx: {error}") from error
    if wildcard:
        return MxPattern(f"*.{host}")
    # A single label is no MX host, and some are words of power in Postfix's match= (hostname,
    # nexthop, dot-nexthop); *.example is kept, for .example is none.
    if "." not in host:
        raise InvalidPolicyError(number, f"mx: a single label: {host!r}")
    return MxPattern(host)
