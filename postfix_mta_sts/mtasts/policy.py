"""Parse a policy file to a frozen `Policy`, and match MX hosts against it (RFC 8461 §3.2, §4.1).

The input is the body as the Policy Host served it. A `Policy` keeps this text, and all its other
fields are read from the text, so that what is stored, reported and applied is the same.

A policy file can have 16,000 lines. Regular expressions read all of them in a few calls, and only
an error looks for its line: any file of 64 KiB is parsed or refused within a few milliseconds.
"""

import enum
import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Final, NewType, cast

from postfix_mta_sts.mtasts.domain import MAX_LENGTH, ends_in_number, parse_host
from postfix_mta_sts.mtasts.errors import InvalidDomainError, InvalidPolicyError, printable
from postfix_mta_sts.values import Value

POLICY_PATH: Final = "/.well-known/mta-sts.txt"
"""Where a Policy Host has the policy (§3.3)."""
MAX_AGE_LIMIT: Final = 31_557_600
"""The largest max_age in seconds (§3.2); larger values are reduced to it (erratum 7282)."""
MX_LIMIT: Final = 200
"""`mx` patterns of a policy, without repeats; the largest real policies have about 30."""

#   sts-policy-ext-name = (sts-policy-alphanum) *31(sts-policy-alphanum / "_" / "-" / ".")
#   sts-policy-field-delim = ":" *WSP
#   sts-policy-ext-value = vchar [*(%x20 / vchar) vchar]        vchar = %x21-7E / UTF8-2/3/4
# The grammar allows C1 controls, which are UTF8-2; it does not allow C0 controls and DEL.
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
_CONTROL = r"\x00-\x1f\x7f"
_VALUE = rf"[^{_CONTROL} ](?:[^{_CONTROL}]*[^{_CONTROL} ])?"
_LINES = re.compile(rf"(?:(?:{_NAME}:[ \t]*+[^{_CONTROL} ][^{_CONTROL}]*+)?[ \t]*+\r?(?:\n|\Z))*+")
_FIELDS: Final = {
    name: re.compile(rf"^{name}:[ \t]*({_VALUE})[ \t]*\r?$", re.MULTILINE)
    for name in ("version", "mode", "max_age")
}
_MX_FIELD = re.compile(rf"^mx:[ \t]*+([^{_CONTROL}]++)", re.MULTILINE)  # spaces may follow it
_MAX_AGE = re.compile(r"[0-9]{1,10}")


class Mode(enum.StrEnum):
    """What a Sending MTA does if an MX host does not conform to the policy (§3.2, §5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


def is_enforced(mode: Mode | None, *, testing: bool) -> bool:
    """Whether a policy of this mode is enforced; `testing`: mode testing is treated as enforce."""
    return mode is Mode.ENFORCE or (mode is Mode.TESTING and testing)


_MODES: Final[Mapping[str, Mode]] = {mode.value: mode for mode in Mode}

# The form of nearly all policy files. A name that matches may still be too long.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_MX = rf"mx: (?:\*\.|{_LABEL}\.){_LABEL}(?:\.{_LABEL})*\r?\n"
_COMMON = re.compile(
    rf"version: STSv1\r?\nmode: ({'|'.join(_MODES)})\r?\n((?:{_MX})+)"
    r"max_age: ([0-9]{1,10})(?:\r?\n)?"
)
_COMMON_LENGTH: Final = 4096  # longer ones are not common, and the attempt takes 2 ms

# Valid values of mx fields, each followed by a line feed.
_ANY_CASE = _LABEL.replace("a-z", "A-Za-z")
_NOT_TOO_LONG = rf"(?=[^\n]{{1,{MAX_LENGTH}}}\n)"
_MX_VALUES = re.compile(
    rf"(?:(?:\*\.{_NOT_TOO_LONG}|{_NOT_TOO_LONG}{_ANY_CASE}\.){_ANY_CASE}(?:\.{_ANY_CASE})*+\n)*+"
)

MxPattern = NewType("MxPattern", str)
"""The value of one `mx` field: a host name, or `*.` and a domain, in lower case (§3.2)."""


def can_match(pattern: MxPattern) -> bool:
    """Whether some MX host can match: `127.0.0.1` and `*.1.2.3.4` are patterns by the ABNF, too."""
    return not ends_in_number(pattern)


def is_field(line: str) -> bool:
    """Whether a line without its end is a field, of any name, or blank (§3.2)."""
    return "\n" not in line and _LINES.fullmatch(line) is not None


def is_pattern(value: str) -> bool:
    """Whether an mx field may have this value (§3.2)."""
    return _MX_VALUES.fullmatch(f"{value}\n") is not None


class Policy(Value, frozen=True):
    """A valid policy; made by `parse_policy`."""

    text: str
    """The policy file as it was served."""
    mode: Mode
    mx: tuple[MxPattern, ...]
    """In the order of the file, without duplicates; empty only in mode none."""
    max_age: int
    """Seconds from the fetch, 0 to `MAX_AGE_LIMIT`."""

    def pattern_of(self, host: str) -> MxPattern | None:
        """The first pattern that an MX host matches (§4.1): `*` stands for its left-most label.

        The name is in lower case. It may be none that `parse_host` accepts, such as `mx_1.x.test`.
        """
        matching = {host, f"*.{host.partition('.')[2]}"}
        return next((pattern for pattern in self.mx if pattern in matching), None)

    def allows(self, host: str) -> bool:
        """Whether at least one pattern matches the MX host; see `pattern_of`."""
        return self.pattern_of(host) is not None

    @property
    def allows_no_host(self) -> bool:
        """Whether it has patterns, and none of them can match any host."""
        return bool(self.mx) and not any(map(can_match, self.mx))

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the file that are not blank, as RFC 8460 §4.4 reports them."""
        return tuple(line for line in _lines(self.text) if line.strip(" \t"))


def parse_policy(body: bytes) -> Policy:
    """Parse a policy file of at most 64 KiB.

    Raises `InvalidPolicyError` with the reason, and with the line if it is one line's fault.
    """
    policy = parse_stored_policy(body)
    if len(policy.mx) > MX_LIMIT:
        reason = f"{len(policy.mx)} different mx fields; at most {MX_LIMIT} are accepted"
        raise InvalidPolicyError(0, reason)
    return policy


def parse_stored_policy(body: bytes) -> Policy:
    """Parse a policy that was accepted before: `MX_LIMIT` does not apply to it.

    Raises `InvalidPolicyError`.
    """
    text = _decode(body)
    return _parse_common(text) or _parse_any(text)


def _parse_common(text: str) -> Policy | None:
    """Parse the common form in a third of the time of `_parse_any`; None for any other form.

    Each look-up from the store parses a policy.
    """
    fields = _COMMON.fullmatch(text) if len(text) <= _COMMON_LENGTH else None
    if not fields:
        return None
    mode, mx, max_age = fields.groups()
    patterns = cast("tuple[MxPattern, ...]", tuple(dict.fromkeys(mx.split()[1::2])))
    if max(map(len, patterns)) > MAX_LENGTH:
        return None
    return Policy(text, _MODES[mode], patterns, min(int(max_age), MAX_AGE_LIMIT))


def _parse_any(text: str) -> Policy:
    _check_lines(text)
    _parse_version(_first(text, "version"))
    mode = _parse_mode(_first(text, "mode"))
    max_age = _parse_max_age(_first(text, "max_age"))
    mx = _parse_mx(text)
    if not mx and mode is not Mode.NONE:
        raise InvalidPolicyError(0, f"no mx field; mode {mode} requires one{_misspelt(text, 'mx')}")
    return Policy(text, mode, mx, max_age)


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


def _check_lines(text: str) -> None:
    """Raise `InvalidPolicyError` for the first line that is neither a field nor blank.

    The RFC leaves open what an empty line means; it is ignored, as is one of spaces and tabs, which
    looks the same.
    """
    lines = _LINES.match(text)
    end = lines.end() if lines else 0
    if end < len(text):
        line = text[end:].partition("\n")[0].removesuffix("\r")
        raise InvalidPolicyError(_line_at(text, end), _reason(line))


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _reason(line: str) -> str:
    """Return why a line is not a field."""
    name, colon, value = line.partition(":")
    if not colon:
        return f"no colon: '{printable(line)}'"
    if not re.fullmatch(_NAME, name):
        mark = "; save the file without a byte order mark" if name.startswith("\ufeff") else ""
        return f"malformed field name '{printable(name)}'{mark}"
    if control := re.search(f"[{_CONTROL}]", value.strip(" \t")):
        return f"{name} has a control character {control[0]!r}"
    return f"{name} has no value"


def _first(text: str, name: str) -> re.Match[str]:
    """The first field with this name; later ones are ignored (§3.2)."""
    if field := _FIELDS[name].search(text):
        return field
    raise InvalidPolicyError(0, f"no {name} field{_misspelt(text, name)}")


def _misspelt(text: str, name: str) -> str:
    """Name the first field that may be meant: fields with unknown names are extensions (§3.2)."""
    names = (line.partition(":")[0] for line in _lines(text[:_COMMON_LENGTH])[:30])
    found = next((each for each in names if is_near_name(each, name)), None)
    return f"; '{printable(found)}' may be meant as {name}" if found else ""


def is_near_name(given: str, name: str) -> bool:
    """Whether the name of a field differs in case, in a hyphen, or in about one letter."""
    if given == name or not given:
        return False
    folded = given.lower().replace("-", "_")
    least = 0.6 if name == "mx" else 0.8
    return folded == name or SequenceMatcher(None, folded, name).ratio() >= least


def _error(field: re.Match[str], reason: str) -> InvalidPolicyError:
    return InvalidPolicyError(_line_at(field.string, field.start()), reason)


def _parse_version(field: re.Match[str]) -> None:
    if field[1] != "STSv1":
        raise _error(field, f"version is not STSv1: '{printable(field[1])}'")


def _parse_mode(field: re.Match[str]) -> Mode:
    if field[1] not in _MODES:
        meant = field[1].strip("\"'").lower()
        found = f"'{printable(field[1])}'{f'; write {meant}' if meant in _MODES else ''}"
        raise _error(field, f"mode is not enforce, testing or none: {found}")
    return _MODES[field[1]]


def _parse_max_age(field: re.Match[str]) -> int:
    if not _MAX_AGE.fullmatch(field[1]):
        raise _error(field, f"max_age is not 1 to 10 digits, in seconds: '{printable(field[1])}'")
    return min(int(field[1]), MAX_AGE_LIMIT)


def _parse_mx(text: str) -> tuple[MxPattern, ...]:
    """The patterns without repeats; raises `InvalidPolicyError` for the first invalid one."""
    unique = [value.rstrip(" ") for value in dict.fromkeys(_MX_FIELD.findall(text))]
    values = "\n".join([*unique, ""])
    valid = _MX_VALUES.match(values)
    end = valid.end() if valid else 0
    if end < len(values):
        value = values[end:].partition("\n")[0]
        fields = _MX_FIELD.finditer(text)
        raise _error(next(f for f in fields if f[1].rstrip(" ") == value), _mx_reason(value))
    # All ASCII here, so that lower() maps A-Z and nothing else (not U+212A, the Kelvin sign).
    return cast("tuple[MxPattern, ...]", tuple(dict.fromkeys(values.lower().split())))


def _mx_reason(value: str) -> str:
    """Return why a value is not a pattern.

    A single label is not the name of an MX host, and some have a special meaning in Postfix's
    match= (hostname, nexthop, dot-nexthop). `*.example` is accepted: `.example` has none.
    """
    if value in {"*", "*."}:
        return f"mx: '{value}' names no host; write the names of the MX hosts"
    if value.endswith(".") and is_pattern(value[:-1]):
        return f"mx: '{printable(value)}' ends with a dot; write {printable(value[:-1])}"
    try:
        host = parse_host(value.removeprefix("*."))
    except InvalidDomainError as error:
        is_list = re.search(r"[\w.][,; ]+[\w*]", value)
        return f"mx: {error}{'; each host has a line of its own' if is_list else ''}"
    return f"mx: not a fully qualified host name: {host!r}"


def shortened(mx: tuple[str, ...], room: int) -> tuple[str, ...]:
    """Return the patterns for which there is room, in bytes; the last may be `+N`, for N more."""
    for number, pattern in enumerate(mx):
        room -= len(pattern) + 1
        if room < 0:
            return (*mx[:number], f"+{len(mx) - number}")
    return mx
