"""docs/rfc8461.md: every requirement has a row, with a symbol and a test that exist.

Whether the test shows what the row says is for a reader to judge.
"""

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeGuard

import pytest

ROOT: Final = Path(__file__).parents[2]
LEDGER: Final = ROOT / "docs" / "rfc8461.md"
PACKAGE: Final = "postfix_mta_sts"

COUNTS: Final = {
    "D": 21,
    "F": 18,
    "P": 13,
    "M": 7,
    "C": 15,
    "A": 5,
    "X": 6,
    "L": 12,
    "Q": 4,
    "T": 10,
}
"""Number of requirements by kind; the ids are D1, D2 … T10."""
IDS: Final = [f"{kind}{n}" for kind, count in COUNTS.items() for n in range(1, count + 1)]

NOT_IMPLEMENTED: Final = {
    "F16": "revocation of the Policy Host's certificate, a MAY",
    "L6": "every failure has a more specific type",
    "L7": "Postfix runs the SMTP session",
    "L10": "not required",
    "M6": "revocation of the MX host's certificate, a MAY for Postfix",
}
MARK: Final = "**Not implemented"


@dataclass(frozen=True, slots=True)
class Row:
    """One requirement."""

    id: str
    section: str
    actor: str
    what: str
    symbols: Sequence[str]
    tests: Sequence[str]


def rows_of(text: str) -> Iterator[Row]:
    """Yield the rows of every table whose first column is an id."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and re.fullmatch(r"[A-Z][0-9]+", cells[0]):
            identifier, section, actor, what, symbols, tests = cells
            yield Row(identifier, section, actor, what, _quoted(symbols), _quoted(tests))


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def faults(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what is wrong with a ledger, one line per fault."""
    found = Counter(row.id for row in rows)
    yield from (f"{name}: {found[name]} rows" for name in IDS if found[name] != 1)
    yield from (f"{name}: not a requirement" for name in found if name not in IDS)
    for row in rows:
        yield from (f"{row.id}: {fault}" for fault in _faults_of(row))


def _faults_of(row: Row) -> Iterator[str]:
    if row.actor not in {"R", "P", "R+P"}:
        yield f"unknown actor {row.actor!r}"
    if not row.section or not row.what:
        yield "an empty cell"
    if row.what.startswith(MARK) != (row.id in NOT_IMPLEMENTED):
        yield "implemented or not: the ledger and its test do not agree"
    wanted = row.id not in NOT_IMPLEMENTED
    if wanted != bool(row.symbols) or wanted != bool(row.tests):
        yield "a symbol and a test are needed if it is implemented, and only then"
    yield from (f"no symbol {symbol}" for symbol in row.symbols if not _is_symbol(symbol))
    yield from (f"no test {test}" for test in row.tests if not _is_test(test))


def _is_symbol(path: str) -> bool:
    """Whether a dotted path below the package names a module or an object in one."""
    names = path.split(".")
    found: object = importlib.import_module(PACKAGE)
    module = PACKAGE
    for name in names:
        module = f"{module}.{name}"
        if not hasattr(found, name):
            try:
                importlib.import_module(module)
            except ImportError:
                return False
        found = getattr(found, name)
    return True


def _is_test(node: str) -> bool:
    """Whether `path::name` or `path::Class::name` is a test below tests/."""
    path, _, name = node.partition("::")
    return name in _tests_in(ROOT / "tests" / path)


@cache
def _tests_in(path: Path) -> frozenset[str]:
    """Return the tests of a file without importing it: e2e tests need more than a checkout."""
    if not path.is_file():
        return frozenset()
    return frozenset(_names(ast.parse(path.read_text("utf-8")).body))


def _names(body: Sequence[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            yield from (f"{node.name}::{name}" for name in _names(node.body))
        elif _is_function(node) and node.name.startswith("test"):
            yield node.name


def _is_function(node: ast.stmt) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def test_ledger() -> None:
    """Each requirement has one row, with symbols and tests that exist."""
    assert list(faults(list(rows_of(LEDGER.read_text("utf-8"))))) == []


def test_in_order() -> None:
    """The rows are in the order of their ids, so that a reader finds one."""
    assert [row.id for row in rows_of(LEDGER.read_text("utf-8"))] == IDS


GOOD: Final = (
    "| D1 | 3.1 | R | The record is queried | `mtasts.record.record_name` "
    "| `mtasts/test_record.py::test_name`, `network/test_https_get.py::TestGet::test_url` |"
)
DONE: Final = GOOD.split(" | `")[0]
SYMBOL: Final = "`mtasts.record.record_name`"
TEST: Final = "`mtasts/test_record.py::test_name`"


def faults_of(line: str) -> list[str]:
    """Return the faults of a ledger of one row, except those about missing rows."""
    return [fault for fault in faults(list(rows_of(line))) if not fault.endswith(": 0 rows")]


def test_a_good_row() -> None:
    """A correct row has no fault, so that each row below has only the fault that it names."""
    assert faults_of(GOOD) == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (f"{GOOD}\n{GOOD}", "D1: 2 rows"),
        (GOOD.replace("D1", "Z9"), "Z9: not a requirement"),
        (GOOD.replace("| R |", "| Q |"), "D1: unknown actor 'Q'"),
        (GOOD.replace("3.1", ""), "D1: an empty cell"),
        (f"{DONE} | - | {TEST} |", "D1: a symbol and a test are needed"),
        (f"{DONE} | {SYMBOL} | - |", "D1: a symbol and a test are needed"),
        (f"{DONE} | `mtasts.record.gone` | {TEST} |", "D1: no symbol mtasts.record.gone"),
        (f"{DONE} | `gone` | {TEST} |", "D1: no symbol gone"),
        (f"{DONE} | {SYMBOL} | `test_gone.py::test_name` |", "D1: no test test_gone.py::test_name"),
        (f"{DONE} | {SYMBOL} | {TEST[:-1]}x` |", "D1: no test mtasts/test_record.py::test_namex"),
        (f"{DONE} | {SYMBOL} | `mtasts/test_record.py` |", "D1: no test mtasts/test_record.py"),
        (
            f"{DONE} | {SYMBOL} | `network/test_https_get.py::test_url` |",
            "D1: no test network/test_https_get.py::test_url",
        ),
        (GOOD.replace("The record", f"{MARK}:** the record"), "D1: implemented or not"),
        (GOOD.replace("D1", "F16"), "F16: implemented or not"),
        (f"| F16 | 3.3 | R | {MARK}:** why | {SYMBOL} | - |", "F16: a symbol and a test"),
    ],
)
def test_a_bad_row_is_a_fault(line: str, fault: str) -> None:
    """Each mistake in a row is found: the checks above can fail."""
    assert any(found.startswith(fault) for found in faults_of(line))


def test_a_missing_requirement_is_a_fault() -> None:
    """A ledger without a row for a requirement has a fault."""
    assert "Q4: 0 rows" in faults(list(rows_of(GOOD)))
