"""What is wrong with one line of a policy file that the parser refuses, and which line is meant."""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Final

from postfix_mta_sts.mtasts.mistakes.mx_value import patterns_meant
from postfix_mta_sts.mtasts.mistakes.repair import Repair, Wrong, repair
from postfix_mta_sts.mtasts.mistakes.txt import QUOTES
from postfix_mta_sts.mtasts.policy import MAX_AGE_LIMIT, Mode, is_field, is_near_name
from postfix_mta_sts.values import Value

FIELDS: Final = ("version", "mode", "mx", "max_age")
USUAL_MAX_AGE: Final = 604_800
"""A week: RFC 8461 §3.2 has weeks in mind."""

_NONE = rf"^[\s{QUOTES}{{,*-]*"
_FIELD = re.compile(rf"{_NONE}([A-Za-z][\w .-]{{0,15}}?)[{QUOTES}]?(\s*)([:=\uff1a])(.*)$")
_NO_COLON = re.compile(rf"{_NONE}({'|'.join(FIELDS)})\s+(\S.*)$", re.IGNORECASE)
_ZONE_LINE = re.compile(r"\sMX\s+[0-9]+\s+\S")
_NO_FIELDS: Final = (
    (
        re.compile(r"^\s*(?:#|//|;|<!--)"),
        Wrong("policy-comment", "a comment; the format has none"),
    ),
    (
        re.compile(r"^\s*(?:```.*|---+|\.\.\.|[{}\[\],]+|</?[^>]*>)\s*$"),
        Wrong("policy-foreign-line", "a line of another format"),
    ),
)
_QUOTED: Final = Wrong("policy-quotes", "quotation marks")
_VALUE_REPAIRS: Final = (
    Repair.of("policy-comment", "a comment", r"(?:^|\s+)(?:#|//).*$", ""),
    Repair.of("policy-final-semicolon", "a semicolon or comma at the end", r"\s*[;,]+\s*$", ""),
    Repair.of("policy-quotes", "quotation marks", rf"[{QUOTES}]", ""),
    Repair.of("policy-final-semicolon", "a semicolon or comma at the end", r"\s*[;,]+\s*$", ""),
    Repair.of("policy-control", "a control character", r"[\x00-\x1f\x7f]+", ""),
)
_MODES: Final[Mapping[str, Mode]] = {
    **{mode.value: mode for mode in Mode},
    **dict.fromkeys(("strict", "enable", "on", "yes", "true", "secure"), Mode.ENFORCE),
    **dict.fromkeys(("report", "reporting", "monitor", "audit"), Mode.TESTING),
    **dict.fromkeys(("off", "no", "false", "disable", "disabled"), Mode.NONE),
}
_UNITS: Final[Mapping[str, int]] = {
    "": 1,
    "s": 1,
    "sec": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86_400,
    "day": 86_400,
    "w": 604_800,
    "week": 604_800,
    "month": 2_592_000,
    "y": 31_536_000,
    "year": 31_536_000,
}


class Reading(Value, frozen=True):
    """What a line is meant as."""

    name: str | None
    """One of `FIELDS`; None: the line is none of them, and to be left out."""
    wrong: tuple[Wrong, ...]
    values: tuple[str, ...] | None = ()
    """The values of the fields to write; None: the MX hosts of the domain."""


def read_line(line: str, present: Collection[str]) -> Reading | None:
    """Read a line of a policy file; None for a line that the parser ignores.

    `present` are the fields that the file has under their right names: no other name stands for
    version, mode or max_age then.
    """
    if not line.strip(" \t"):
        return None
    for pattern, wrong in _NO_FIELDS:
        if pattern.match(line):
            return Reading(None, (wrong,))
    if _ZONE_LINE.search(line) and ":" not in line:
        return _with_value("mx", [], line)
    if field := _FIELD.match(line):
        return _read_field(line, field, present)
    if pair := _NO_COLON.match(line):
        no_colon = Wrong("policy-no-colon", "no colon after the name")
        return _with_value(pair[1].lower(), [no_colon], pair[2])
    return _no_field()


def meant_name(given: str, present: Collection[str]) -> str | None:
    """Return the field that a name stands for."""
    if given in FIELDS:
        return given
    others = [name for name in FIELDS if name == "mx" or name not in present]
    folded = given.replace(" ", "_")
    return next((name for name in others if folded == name or is_near_name(folded, name)), None)


def _read_field(line: str, field: re.Match[str], present: Collection[str]) -> Reading | None:
    given, blank, colon, value = field.groups()
    name = meant_name(given, present)
    if name is None or (name == "mx" != given.lower() and "." not in value):
        return None if is_field(line) else _no_field()
    wrong = []
    if given != name:
        wrong.append(Wrong(f"misspelt-{name.replace('_', '-')}", f"'{given}' in place of {name}"))
    if before := line[: field.start(1)]:
        wrong.append(_wrong_before(before))
    if set(line[field.end(1) : field.start(3)]) & set(QUOTES):
        wrong.append(_QUOTED)
    if blank and colon == ":":
        wrong.append(Wrong("policy-blank-before-colon", "a blank before the colon"))
    if colon != ":":
        wrong.append(Wrong("policy-equals", "= in place of the colon"))
    return _with_value(name, wrong, value)


def _no_field() -> Reading:
    return Reading(None, (Wrong("policy-no-field", "a line that is not name: value"),))


def _wrong_before(before: str) -> Wrong:
    if set(before) & set(QUOTES):
        return _QUOTED
    if before.isspace():
        return Wrong("policy-indented", "a blank before the name")
    return Wrong("policy-list-mark", f"'{before.strip()}' before the name")


def _with_value(name: str, wrong: list[Wrong], value: str) -> Reading:
    more, better = repair(value.strip(" \t"), _VALUE_REPAIRS)
    wrong = [*wrong, *more]
    better = better.strip()
    if name == "mx":
        more, values = patterns_meant(better)
        if not better:
            more, values = [Wrong("mx-empty", "no value")], None
        return Reading(name, _once([*wrong, *more]), values)
    right = _RIGHT[name](better)
    if right != better:
        wrong.append(_WRONG_VALUE[name])
    return Reading(name, _once(wrong), (right,))


def _once(wrong: list[Wrong]) -> tuple[Wrong, ...]:
    return tuple(dict.fromkeys(wrong))


def _mode_meant(value: str) -> str:
    near = get_close_matches(value.lower(), _MODES, n=1, cutoff=0.6)
    return _MODES[near[0]] if near else Mode.TESTING


def _max_age_meant(value: str) -> str:
    """The number of seconds, without the signs and units that people write."""
    if re.fullmatch(r"[0-9]{1,10}", value):
        return value
    number = re.match(r"([0-9][0-9,._' ]{0,15})\s*([A-Za-z]*?)s?$", value)
    unit = _UNITS.get(number[2].lower()) if number else None
    if number is None or unit is None:
        return str(USUAL_MAX_AGE)
    digits = re.sub(r"\D", "", re.sub(r"\.0*\s*$", "", number[1]))
    return str(min(int(digits) * unit, MAX_AGE_LIMIT))


_RIGHT: Final = {"version": lambda _: "STSv1", "mode": _mode_meant, "max_age": _max_age_meant}
_WRONG_VALUE: Final = {
    "version": Wrong("policy-version", "the version is not STSv1"),
    "mode": Wrong("policy-mode", "the mode is not enforce, testing or none"),
    "max_age": Wrong("policy-max-age", "max_age is not a number of seconds"),
}
