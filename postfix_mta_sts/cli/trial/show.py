"""Show the findings of a trial: those that are held as a table, then the sums and the sentence.

As JSON, all findings are one object, which is written piece by piece: neither form keeps the list
in memory.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from postfix_mta_sts.admin.findings import Finding, Outcome
from postfix_mta_sts.admin.times import ago
from postfix_mta_sts.cli.parser import INTERRUPTED
from postfix_mta_sts.cli.trial.tally import HELD, NOTHING_HELD, Tally
from postfix_mta_sts.values import to_json

_COLOURS: Final = {NOTHING_HELD: "green", HELD: "red"}
_NOT_KNOWN: Final = "yellow"
_REPORT_COLUMNS: Final = ("domain", "fault", "checked", "first held", "look-ups", "reason")
_DISPENSABLE: Final = ("first held", "look-ups", "checked")
_SCAN_COLUMNS: Final = ("domain", "fault", "checked", "reason")


@dataclass(frozen=True, slots=True)
class Report:
    """What is said beside the findings."""

    facts: tuple[tuple[str, str], ...] = ()
    """For people, before the sums."""
    head: Mapping[str, Any] = field(default_factory=dict)
    """The same for programs."""
    sentence: str = ""
    """What follows the sentence of the sums."""
    lacking: list[str] = field(default_factory=list)
    """What is not known, and why; it may grow while the findings are read."""
    is_scan: bool = False
    """Whether it is about this moment alone, without look-ups and earlier checks."""
    is_complete: bool = True
    """Whether it was not interrupted."""
    at: float = field(default_factory=time.time)
    """Epoch seconds, until which ages are counted."""


def show_text(findings: Iterable[Finding], report: Report) -> Tally:
    """Print the findings for people; return their sums."""
    from postfix_mta_sts.cli import terminal  # noqa: PLC0415 (rich: see there)

    tally, now = Tally(), report.at
    row = _scan_row if report.is_scan else _report_row
    columns = _SCAN_COLUMNS if report.is_scan else _REPORT_COLUMNS
    dispensable = [each for each in _DISPENSABLE if each in columns]
    table = terminal.Columns(*columns, dispensable=dispensable, below="reason")
    if table.print_rows(row(each, now) for each in _held(findings, tally)):
        print()
    if facts := [*report.facts, *tally.lines(now)]:
        print(terminal.pairs(facts))
        print()
    colour = _COLOURS.get(tally.exit_code, _NOT_KNOWN)
    print(terminal.headline(_sentence(tally, report), colour))
    return tally


def _held(findings: Iterable[Finding], tally: Tally) -> Iterator[Finding]:
    """Count all findings, and yield those that are held."""
    for finding in findings:
        tally.add(finding)
        if finding.outcome is Outcome.HELD:
            yield finding


def _report_row(finding: Finding, now: float) -> tuple[object, ...]:
    checked, first = ago(finding.checked_at, now), ago(finding.since, now)
    return finding.domain, finding.fault, checked, first, finding.look_ups, finding.sentence


def _scan_row(finding: Finding, now: float) -> tuple[object, ...]:
    return finding.domain, finding.fault, ago(finding.checked_at, now), finding.sentence


def show_json(findings: Iterable[Finding], report: Report) -> Tally:
    """Print one object: the facts, `domains`, and `summary`; return the sums."""
    tally = Tally()
    start = json.dumps(report.head)[1:-1]
    print(f'{{{start}{", " if start else ""}"domains": [', end="")
    separator = "\n"
    for finding in findings:
        tally.add(finding)
        print(f"{separator}{to_json(finding)}", end="")
        separator = ",\n"
    print(f'\n], "summary": {json.dumps(_summary(tally, report))}}}')
    return tally


def _summary(tally: Tally, report: Report) -> dict[str, Any]:
    return {
        "sentence": _sentence(tally, report),
        "exit_code": tally.exit_code if report.is_complete else INTERRUPTED,
        "with_policy": tally.with_policy,
        "look_ups": tally.look_ups,
        "held_look_ups": tally.held_look_ups,
        **{outcome.replace("-", "_"): tally.outcomes[outcome] for outcome in Outcome},
        "oldest_check": tally.oldest,
        "last_check": tally.last,
    }


def _sentence(tally: Tally, report: Report) -> str:
    return "; ".join(filter(None, (tally.sentence(), report.sentence, *report.lacking)))
