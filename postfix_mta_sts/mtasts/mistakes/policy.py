"""Mistakes in a policy file that the parser refuses (RFC 8461 §3.2).

The whole file may be something else, or be written in a form in which the parser finds no line.
Otherwise each line is read by itself, and what is missing is named.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from postfix_mta_sts.mtasts.errors import InvalidPolicyError, printable
from postfix_mta_sts.mtasts.mistakes.mail_names import mx_lines
from postfix_mta_sts.mtasts.mistakes.policy_line import (
    FIELDS,
    USUAL_MAX_AGE,
    Reading,
    read_line,
)
from postfix_mta_sts.mtasts.mistakes.repair import Wrong
from postfix_mta_sts.mtasts.mistakes.values import NEXT_LINE, Mistake, Place, Seen
from postfix_mta_sts.mtasts.policy import Mode, parse_policy
from postfix_mta_sts.values import Value

_LINES: Final = 300
"""Lines that are looked at; the largest real policies have about 40."""
_LONGEST: Final = 512
"""Characters of a line that are looked at: some patterns take quadratic time."""
_BEGINNING: Final = 2048
"""Characters of a file by which its form is known; for the same reason."""
_BOM: Final = "\ufeff"
_NAMES = "|".join(FIELDS)
_START = re.compile(rf"\b(?:{_NAMES})\s*[:=]", re.IGNORECASE)
_SPLIT = re.compile(rf"(?={_START.pattern})", re.IGNORECASE)
_LITERAL = re.compile(r"(?:\\[nr])+")


class _Form(Value, frozen=True):
    """A file that is something else, found by its beginning or by what is in it."""

    code: str
    found: str
    pattern: re.Pattern[str]


def _form(code: str, found: str, pattern: str) -> _Form:
    return _Form(code, found, re.compile(pattern, re.IGNORECASE | re.DOTALL))


_OTHER: Final = (
    _form("policy-empty", "an empty file", r"\s*\Z"),
    _form(
        "policy-html",
        "an HTML page",
        r".*<(?:!doctype|html|head|body|pre|div|span|p|br)\b[^<>]*>",
    ),
    _form("policy-rtf", "a document of a word processor", r"\s*\{\\rtf"),
    _form("policy-json", "JSON", r"\s*[\[{]"),
    _form("policy-record", "the text of the TXT record", r"\W*v\s*=\s*STS(?!.*\bmode\b)"),
)
"""None of them says surely which policy is meant."""


def find_policy_mistakes(seen: Seen) -> Iterator[Mistake]:
    """Yield the mistakes in the body that the Policy Host sent, if it is no valid policy."""
    if seen.body is None:
        return
    try:
        parse_policy(seen.body)
    except InvalidPolicyError as error:
        other = Mistake("policy-other", Place.POLICY, str(error), policy_lines(seen))
        yield from list(_in_file(seen, seen.body)) or [other]


def _in_file(seen: Seen, body: bytes) -> Iterator[Mistake]:
    coding, text = _decoded(body)
    if coding:
        yield Mistake(coding.code, Place.POLICY, coding.found, "save the file as plain ASCII")
    beginning = text[:_BEGINNING]
    other = next((form for form in _OTHER if form.pattern.match(beginning)), None)
    if other:
        found = f"{other.found}: '{printable(text.strip(), 60)}'" if text.strip() else other.found
        yield Mistake(other.code, Place.POLICY, found, policy_lines(seen))
        return
    if form := _form_of_lines(beginning):
        parts = _SPLIT.split(_LITERAL.sub(" ", beginning))
        pieces = [part.strip(" ,;\t\r\n")[:_LONGEST] for part in parts]
        found = f"{form.found}: '{printable(text.strip(), 80)}'"
        lines = [line for _, _, right in _readings(seen, pieces) for line in right]
        yield Mistake(form.code, Place.POLICY, found, NEXT_LINE.join(lines))
        return
    yield from _in_lines(seen, text)


def _decoded(body: bytes) -> tuple[Wrong | None, str]:
    """The text of a body, and what is wrong with its coding."""
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in body[:4]:
        coding = "utf-16" if body[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-16-le"
        coding = "utf-16-be" if body[:1] == b"\0" else coding
        return Wrong("policy-utf-16", "UTF-16"), body.decode(coding, "replace").lstrip(_BOM)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return Wrong("policy-not-utf-8", "bytes that are not UTF-8"), body.decode("latin-1")
    if text.startswith(_BOM):
        return Wrong("policy-bom", "a byte order mark before the first line"), text.lstrip(_BOM)
    return None, text


def _form_of_lines(text: str) -> Wrong | None:
    """What is wrong with the line ends, if the parser sees one line where several are meant."""
    if len(_START.findall(_LITERAL.sub(" ", text))) < 2 or "\n" in text.strip():
        return None
    if _LITERAL.search(text):
        return Wrong("policy-literal-newline", "\\n in place of line ends")
    if "\r" in text.strip():
        return Wrong("policy-cr", "line ends of CR alone")
    return Wrong("policy-one-line", "all fields in one line")


def _in_lines(seen: Seen, text: str) -> Iterator[Mistake]:
    lines = [line.removesuffix("\r")[:_LONGEST] for line in text.split("\n")[:_LINES]]
    names = set()
    for number, reading, right in _readings(seen, lines):
        names.add(reading.name)
        write = NEXT_LINE.join(right) or "leave this line out"
        for code, found in reading.wrong:
            shown = f"line {number}: {found}: '{printable(lines[number - 1], 80)}'"
            yield Mistake(code, Place.POLICY, printable(shown, 400), write)
    for name in FIELDS:
        if name not in names:
            lines_of = {**_USUAL, "mx": mx_lines(seen)}
            yield Mistake(
                f"missing-{name.replace('_', '-')}", Place.POLICY, f"no {name}", lines_of[name]
            )


def _readings(seen: Seen, lines: Sequence[str]) -> Iterator[tuple[int, Reading, list[str]]]:
    """Yield for each line its number, what it is meant as, and the lines to write."""
    present = {line.partition(":")[0] for line in lines}
    for number, line in enumerate(lines, 1):
        reading = read_line(line, present)
        if reading is None:
            continue
        if reading.values is None:
            right = [mx_lines(seen)]
        else:
            right = [f"{reading.name}: {value}" for value in reading.values]
        yield number, reading, right


_USUAL: Final = {
    "version": "version: STSv1",
    "mode": f"mode: {Mode.TESTING}",
    "max_age": f"max_age: {USUAL_MAX_AGE}",
}


def policy_lines(seen: Seen) -> str:
    """A policy for the domain, in the mode that does no harm."""
    first, mode, max_age = _USUAL.values()
    return NEXT_LINE.join([first, mode, mx_lines(seen), max_age])
