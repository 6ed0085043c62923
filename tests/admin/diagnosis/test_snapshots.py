"""The texts as people see them, on a terminal of 80 columns, kept as files in `snapshots/`.

`make snapshots` writes them again; look at the difference before you commit it. A file has the name
of its case in `tests/support/diagnoses.py` and of its form: `txt` without colour, `colour.txt` with
the control sequences of a terminal (`cat` shows it), `letter.txt` for what `--letter` prints.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.admin.diagnosis.build import build
from postfix_mta_sts.admin.diagnosis.letter import has_letter, letter
from postfix_mta_sts.admin.diagnosis.values import Diagnosis
from postfix_mta_sts.cli import query
from tests.support.diagnoses import CASES

FOLDER: Final = Path(__file__).with_name("snapshots")
SHOWN: Final = (
    "verified",
    "not-probed",
    "cached",
    "expired",
    "wrong-name",
    "two-hosts",
    "foreign-mx",
    "no-policy",
    "testing-breach",
    "gone",
    "mistyped",
    "only-reports",
    "dns-silent",
    "daemon-stopped",
    "exception",
    "exception-pin",
    "another-table",
    "dane",
    "dane-mismatch",
    "elsewhere",
    "interrupted",
)
COLOURED: Final = ("verified", "expired", "no-policy", "dns-silent")
"""One for each colour, and one that is wrapped."""


def texts(diagnosis: Diagnosis) -> str:
    """What the command prints."""
    return "".join(f"{line}\n" for line in query._lines(diagnosis))


def snapshots(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """The name and the contents of each file."""
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    for name in SHOWN:
        diagnosis = build(CASES[name]())
        monkeypatch.setenv("NO_COLOR", "1")
        yield f"{name}.txt", texts(diagnosis)
        if has_letter(diagnosis):
            yield f"{name}.letter.txt", letter(diagnosis)
        if name in COLOURED:
            monkeypatch.delenv("NO_COLOR")
            yield f"{name}.colour.txt", texts(diagnosis)


def test_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text is as its file; `make snapshots` writes the files again."""
    made = dict(snapshots(monkeypatch))
    if os.environ.get("WRITE_SNAPSHOTS"):
        write(made)
    kept = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}
    assert kept.keys() == made.keys()
    for name, text in made.items():
        assert text == kept[name], f"{name} differs: make snapshots"


def write(made: dict[str, str]) -> None:
    """Write all files again, and remove those that are left over."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, "utf-8")


def test_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is wider than the terminal."""
    for name, text in snapshots(monkeypatch):
        if "colour" not in name:
            assert max(map(len, text.splitlines())) <= 80, name
