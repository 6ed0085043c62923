"""docs/answers.md shows what `decide` decides."""

from pathlib import Path

from tests.docs.answers import COLUMNS, tables
from tests.support.decisions import POLICIES

PAGE = Path(__file__).parents[2] / "docs" / "answers.md"


def test_the_tables_are_those_of_the_code() -> None:
    """If this fails: `python -m tests.docs.answers` prints the tables."""
    page = PAGE.read_text("utf-8")
    assert "\n".join(tables()).strip() in page


def test_every_policy_has_a_column() -> None:
    """Each is in exactly one."""
    assert sorted(name for names in COLUMNS.values() for name in names) == sorted(POLICIES)
