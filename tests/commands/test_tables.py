"""Tables as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.commands import tables


def test_block() -> None:
    """Columns stand under their heads; None is an empty cell."""
    text = tables.Columns("name", "number").block([("a", 1), ("bcdef", None)])
    assert text == "NAME   NUMBER\na      1\nbcdef"


def test_further_blocks() -> None:
    """The head comes once, and no column gets narrower than it was."""
    table = tables.Columns("a", "b")
    assert table.block([("xxxx", "y")]) == "A     B\nxxxx  y"
    assert table.block([("x", "y")]) == "x     y"


def test_nothing() -> None:
    """A table of nothing is its head."""
    assert tables.Columns("a").block([]) == "A"


def test_pairs() -> None:
    """Names, and what stands behind them."""
    assert tables.pairs([("one", 1), ("three", "3 4")]) == "one    1\nthree  3 4"


def test_no_line_is_broken() -> None:
    """What is no terminal gets a row a line, however long it is."""
    assert tables.pairs([("a", "x y " * 400)]).count("\n") == 0


@pytest.mark.parametrize("text", ["[red]a[/]", "[/]", "[link=x]", ":smile:", "\\[b]", "a[0]"])
def test_markup_is_text(text: str) -> None:
    """Nothing in a cell means anything to rich."""
    assert text in tables.pairs([("a", text)])
    assert text in tables.Columns("a").block([(text,)])


@given(st.text())
def test_printable(text: str) -> None:
    """Whatever is in a cell, what is drawn is one line of printable ASCII."""
    drawn = tables.pairs([("a", text)])
    assert drawn.isascii()
    assert not drawn.strip() or drawn.isprintable()
