"""docs/trial.md: its output is what the program prints, its exit codes and words are all there."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from postfix_mta_sts.admin.findings import Finding, Outcome
from postfix_mta_sts.admin.trial import TrialFacts, facts_to_json
from postfix_mta_sts.cli.trial import commands, tally
from postfix_mta_sts.cli.trial.report import about
from postfix_mta_sts.cli.trial.show import Report, show_json, show_text
from tests.docs.blocks import ROOT

NOW = 1_795_000_000
PAGE = (ROOT / "docs/trial.md").read_text("utf-8")


def held(domain: str, reason: str, cause: str, minutes: int, days: int, look_ups: int) -> Finding:
    """A domain whose mail would be held."""
    return Finding(
        domain=domain,
        outcome=Outcome.HELD,
        look_ups=look_ups,
        sentence=f"Mail to {domain} is held: its MX host mx1.{domain} fails: {reason}",
        cause=cause,
        fault="theirs",
        checked_at=NOW - minutes * 60,
        since=NOW - days * 86_400,
    )


def others(outcome: Outcome, number: int, why: str = "", look_ups: int = 0) -> list[Finding]:
    """Other domains; the look-ups are those of the first."""
    at = NOW - 7_200 if outcome is Outcome.DELIVERED else None
    made = Finding(domain="x.test", outcome=outcome, why=why, checked_at=at)
    return [
        Finding(domain="x.test", outcome=outcome, why=why, look_ups=look_ups, checked_at=at)
    ] + [made] * (number - 1)


FINDINGS = [
    held("example.com", "certificate expired 3 days ago", "certificate-expired", 100, 3, 812),
    held("example.net", "no STARTTLS", "no-starttls", 200, 12, 3),
    *others(Outcome.DELIVERED, 1_214, look_ups=9_812),
    *others(Outcome.NOT_CHECKED, 5, "never"),
    *others(Outcome.NOT_ENFORCED, 87, "testing"),
    *others(Outcome.NOT_ENFORCED, 3, "dane"),
]


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The report, as a terminal of 100 columns without colours has it."""
    facts = TrialFacts(("postfix", "QUERY", "QUERYwithTLSRPT"), (), every=21_600)
    head = {"trial": facts_to_json(facts), "first_day": "2026-11-20"}
    show_text(FINDINGS, replace(about(head), at=NOW))
    return capsys.readouterr().out.splitlines()


def test_report(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The example is what `trial report` prints."""
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    found = re.search(r"^    DOMAIN.*\n(?:(?:    .*)?\n)*", PAGE, re.MULTILINE)
    assert found
    shown = [line[4:].rstrip() for line in found[0].rstrip().splitlines()]
    assert shown == printed(capsys)


def test_exit_codes() -> None:
    """Each exit code is in the table."""
    table = re.findall(r"^\| ([0-9]+) \| \S", PAGE, re.MULTILINE)
    codes = [tally.NOTHING_HELD, tally.HELD, tally.NOT_KNOWN, tally.USAGE, 130]
    assert table == [str(code) for code in codes]


def test_words_of_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Each outcome and each key is explained."""
    show_json(FINDINGS[:1], Report(head={"invalid_lines": 0}))
    keys = re.findall(r'"([a-z_]+)":', capsys.readouterr().out)
    for word in (*Outcome, *keys):
        assert f"`{word}`" in PAGE, word


def test_limits() -> None:
    """The limit of looks at once is the one of the program."""
    source = Path(commands.__file__).read_text("utf-8")
    assert "_AT_ONCE: Final = 10\n_AT_ONCE_LIMIT: Final = 100\n" in source
    assert "10 domains at once" in PAGE
    assert "`--at-once 100`" in PAGE
