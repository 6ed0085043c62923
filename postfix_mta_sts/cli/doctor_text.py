"""The report of `doctor` for people: the conclusion, what is wrong, what mends it, the rest.

A command is never wrapped, so that a copy of it is one line.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from postfix_mta_sts.admin.doctor.commands import LIMIT
from postfix_mta_sts.admin.doctor.report import Effect, Fact, Finding, Report
from postfix_mta_sts.cli import terminal
from postfix_mta_sts.mtasts.errors import printable

_COLOURS: Final = ("green", "yellow", "red")
"""By exit code."""
_EFFECTS: Final = {
    Effect.HELD: "mail held",
    Effect.UNPROTECTED: "unprotected",
    Effect.NONE: "warning",
}
_EFFECT_WIDTH: Final = max(map(len, _EFFECTS.values()))
_INDENT: Final = " " * 4


def lines(report: Report) -> Iterator[str]:
    """Yield the blocks of the report; on a terminal, a block is several lines."""
    yield terminal.headline(report.sentence, _COLOURS[report.exit_code])
    for finding in report.findings:
        yield ""
        yield terminal.labelled(_finding(finding), label_width=_EFFECT_WIDTH)
    yield from _remedies(report.findings)
    if report.unseen:
        yield from ("", "Not seen:")
        yield terminal.listed(f"{each.what}: {each.reason}" for each in report.unseen)
    if report.facts:
        width = max(len(each.label) for each in report.facts)
        yield ""
        yield terminal.labelled(_facts(report.facts), label_width=width)


def _finding(finding: Finding) -> Iterator[tuple[str, str]]:
    yield _EFFECTS[finding.effect], finding.what
    yield "", finding.why
    yield "", f"[{'; '.join([finding.id, *_where(finding)])}]"


def _where(finding: Finding) -> Iterator[str]:
    """The instance and the services, if it does not concern all."""
    if finding.instance:
        yield f"instance {finding.instance}"
    if finding.services:
        yield f"in master.cf: {', '.join(finding.services)}"


def _remedies(findings: Sequence[Finding]) -> Iterator[str]:
    """Each command once, below what it mends."""
    remedies: dict[str, list[str]] = {}
    for each in findings:
        if each.mend:
            remedies.setdefault(each.mend, []).append(each.id)
    if remedies:
        yield from ("", "To mend, as root:")
    for command, ids in remedies.items():
        yield f"  {printable(', '.join(dict.fromkeys(ids)))}"
        yield f"{_INDENT}{printable(command, LIMIT)}"


def _facts(facts: Iterable[Fact]) -> Iterator[tuple[str, str]]:
    """The facts; a label that was said for the line before is left out."""
    before = ""
    for each in facts:
        yield ("" if each.label == before else each.label), each.text
        before = each.label
