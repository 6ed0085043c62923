"""The reports of `doctor` as people see them at 80 columns, kept as files in `doctor_texts/`.

`make snapshots` writes them again; look at the difference before you commit it. A file has the name
of its report in `tests/support/reports.py`: `txt` without colour, `colour.txt` with the control
sequences of a terminal, `pipe.txt` for what a pipe or a file gets.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.admin.doctor.report import Effect, Finding, Report
from postfix_mta_sts.cli.doctor_text import lines
from postfix_mta_sts.values import replace
from tests.docs.blocks import ROOT
from tests.support.reports import REPORTS, SET_MAP

FOLDER: Final = Path(__file__).with_name("doctor_texts")
COLOURED: Final = ("well", "held", "warning")
"""One for each colour."""
PIPED: Final = ("held", "plain-user")


def text(report: Report) -> str:
    """What the command prints."""
    return "".join(f"{line}\n" for line in lines(report))


def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """The name and the contents of each file."""
    for name in PIPED:
        yield f"{name}.pipe.txt", text(REPORTS[name])
    for variable, value in {"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm"}.items():
        monkeypatch.setenv(variable, value)
    for name in COLOURED:
        yield f"{name}.colour.txt", text(REPORTS[name])
    monkeypatch.setenv("NO_COLOR", "1")
    for name, report in REPORTS.items():
        yield f"{name}.txt", text(report)


def test_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text is as its file; `make snapshots` writes the files again."""
    now = dict(made(monkeypatch))
    if os.environ.get("WRITE_SNAPSHOTS"):
        write(now)
    kept = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}
    assert kept.keys() == now.keys()
    for name, each in now.items():
        assert each == kept[name], f"{name} differs: make snapshots"


def write(now: dict[str, str]) -> None:
    """Write all files again, and remove those that are left over."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    for name, each in now.items():
        (FOLDER / name).write_text(each, "utf-8")


def test_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line but a command is wider than the terminal, and a command is one line."""
    commands = {f"    {each.mend}" for report in REPORTS.values() for each in report.findings}
    wide = set()
    for name, each in made(monkeypatch):
        if "colour" not in name and "pipe" not in name:
            wide |= {line for line in each.splitlines() if len(line) > 80}
    assert wide <= commands
    assert f"    {SET_MAP}" in wide


def test_example_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/doctor.md shows what is printed."""
    example = dict(made(monkeypatch))["held.txt"]
    indented = "".join(f"    {line}".rstrip() + "\n" for line in example.splitlines())
    assert indented in (ROOT / "docs/doctor.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["what", "why", "id", "mend", "instance"])
def test_text_of_others_is_printable(name: str) -> None:
    """No part of a finding can move the cursor."""
    finding = Finding("a", Effect.HELD, "b", "c", "d", "e")
    report = replace(REPORTS["held"], findings=(replace(finding, **{name: "x\x1b[2J\ny"}),))
    assert r"x\x1b[2J\ny" in text(report)
    assert "\x1b" not in text(report)
