"""Parse a policy file to a frozen `Policy`, and match MX hosts against it (RFC 8461 §3.2, §4.1).

The input is the body as the Policy Host served it. A `Policy` keeps this text, and all its other
fields are read from the text, so that what is stored, reported and applied is the same.
"""

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NewType, cast

from postfix_mta_sts.mtasts.domain import MAX_LENGTH, Domain, parse_host
from postfix_mta_sts.mtasts.errors import InvalidDomainError, InvalidPolicyError, printable
from postfix_mta_sts.values import Value

MAX_AGE_LIMIT: Final = 31_557_600
"""The largest max_age in seconds (§3.2); larger values are reduced to it (erratum 7282)."""

#   sts-policy-ext-name = (sts-policy-alphanum) *31(sts-policy-alphanum / "_" / "-" / ".")
#   sts-policy-field-delim = ":" *WSP
#   sts-policy-ext-value = vchar [*(%x20 / vchar) vchar]        vchar = %x21-7E / UTF8-2/3/4
# The grammar allows C1 controls, which are UTF8-2; it does not allow C0 controls and DEL.
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
_CONTROL = r"\x00-\x1f\x7f"
_VALUE = rf"[^{_CONTROL} ](?:[^{_CONTROL}]*[^{_CONTROL} ])?"
_FIELD = re.compile(rf"^({_NAME}):[ \t]*({_VALUE})[ \t]*\r?$", re.MULTILINE)
_MAX_AGE = re.compile(r"[0-9]{1,10}")


class Mode(enum.StrEnum):
    """What a Sending MTA does if an MX host does not conform to the policy (§3.2, §5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


_MODES: Final[Mapping[str, Mode]] = {mode.value: mode for mode in Mode}

# The form of nearly all policy files. A name that matches may still be too long.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_MX = rf"mx: (?:\*\.|{_LABEL}\.){_LABEL}(?:\.{_LABEL})*\r?\n"
_COMMON = re.compile(
    rf"version: STSv1\r?\nmode: ({'|'.join(_MODES)})\r?\n((?:{_MX})+)"
    r"max_age: ([0-9]{1,10})(?:\r?\n)?"
)

MxPattern = NewType("MxPattern", str)
"""The value of one `mx` field: a host name, or `*.` and a domain, in lower case (§3.2)."""


def matches(pattern: MxPattern, host: Domain) -> bool:
    """Whether an MX host matches: `*` stands for exactly the left-most label (§4.1)."""
    return pattern in {host, f"*.{host.partition('.')[2]}"}


class Policy(Value, frozen=True):
    """A valid policy; made by `parse_policy`."""

    text: str
    """The policy file as it was served."""
    mode: Mode
    mx: tuple[MxPattern, ...]
    """In the order of the file, without duplicates; empty only in mode none."""
    max_age: int
    """Seconds from the fetch, 0 to `MAX_AGE_LIMIT`."""

    def allows(self, host: Domain) -> bool:
        """Whether at least one pattern matches the MX host (§4.1)."""
        return any(matches(pattern, host) for pattern in self.mx)

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the file that are not empty, as RFC 8460 §4.4 reports them."""
        return tuple(line for line in _lines(self.text) if line)


def parse_policy(body: bytes) -> Policy:
    """Parse a policy file of at most 64 KiB.

    Raises `InvalidPolicyError` with the line and the reason.
    """
    text = _decode(body)
    return _parse_common(text) or _parse_any(text)


def _parse_common(text: str) -> Policy | None:
    """Parse the common form in a third of the time of `_parse_any`; None for any other form.

    Each look-up from the store parses a policy.
    """
    fields = _COMMON.fullmatch(text)
    if not fields:
        return None
    mode, mx, max_age = fields.groups()
    patterns = cast("tuple[MxPattern, ...]", tuple(dict.fromkeys(mx.split()[1::2])))
    if max(map(len, patterns)) > MAX_LENGTH:
        return None
    return Policy(text, _MODES[mode], patterns, min(int(max_age), MAX_AGE_LIMIT))


def _parse_any(text: str) -> Policy:
    values: dict[str, tuple[int, str]] = {}  # first occurrence of each field: (line number, value)
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
        raise InvalidPolicyError(0, f"no mx field; mode {mode} requires one")
    return Policy(text, mode, tuple(mx), max_age)


def _decode(body: bytes) -> str:
    # Always UTF-8, even if the server names another charset. A byte order mark stays in the text,
    # and is refused as part of the first field's name.
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise InvalidPolicyError(line, "not UTF-8") from error


def _lines(text: str) -> list[str]:
    # sts-policy-term = LF / CRLF, and nothing else: str.splitlines splits at eleven line ends.
    return [line.removesuffix("\r") for line in text.split("\n")]


def _fields(text: str) -> Iterable[tuple[int, str, str]]:
    """Return the number, name and value of each line that is not empty."""
    fields = _FIELD.findall(text)
    if len(fields) == text.count("\n") + (not text.endswith("\n")):
        return ((number, *field) for number, field in enumerate(fields, 1))  # every line is a field
    return _fields_line_by_line(text)


def _fields_line_by_line(text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if field := _FIELD.fullmatch(line):
            yield number, field[1], field[2]
        elif line.removesuffix("\r"):  # an empty line is ignored; the RFC leaves this open
            raise InvalidPolicyError(number, _reason(line.removesuffix("\r")))


def _reason(line: str) -> str:
    """Return why a line is not a field."""
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
    # A single label is not the name of an MX host, and some have a special meaning in Postfix's
    # match= (hostname, nexthop, dot-nexthop). *.example is accepted: .example has none.
    if "." not in host:
        raise InvalidPolicyError(number, f"mx: not a fully qualified host name: {host!r}")
    return MxPattern(host)
