"""Tables as text."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from postfix_mta_sts.cli.terminal import Columns, pairs


def terminal() -> Console:
    """A narrow terminal."""
    return Console(file=io.StringIO(), force_terminal=True, width=60, color_system="standard")


def test_block() -> None:
    """Columns stand under their heads; None is an empty cell."""
    text = Columns("name", "number").block([("a", 1), ("bcdef", None)])
    assert text == "NAME   NUMBER\na      1\nbcdef"


def test_further_blocks() -> None:
    """The head comes once, and no column gets narrower than it was."""
    table = Columns("a", "b")
    assert table.block([("xxxx", "y")]) == "A     B\nxxxx  y"
    assert table.block([("x", "y")]) == "x     y"


def test_nothing() -> None:
    """A table of nothing is its head."""
    assert Columns("a").block([]) == "A"


def test_pairs() -> None:
    """Names, and what stands behind them."""
    assert pairs([("one", 1), ("three", "3 4")]) == "one    1\nthree  3 4"


def test_no_line_is_broken() -> None:
    """What is no terminal gets a row a line, however long it is."""
    assert pairs([("a", "x y " * 400)]).count("\n") == 0


@pytest.mark.parametrize("text", ["[red]a[/]", "[/]", "[link=x]", ":smile:", "\\[b]", "a[0]"])
def test_markup_is_text(text: str) -> None:
    """Nothing in a cell means anything to rich."""
    assert text in pairs([("a", text)])
    assert text in Columns("a").block([(text,)])


@given(st.text())
def test_printable(text: str) -> None:
    """Whatever is in a cell, what is drawn is one line of printable ASCII."""
    drawn = pairs([("a", text)])
    assert drawn.isascii()
    assert not drawn.strip() or drawn.isprintable()


class TestTerminal:
    """What rich draws where there is a terminal."""

    def test_head(self) -> None:
        """The head stands out."""
        text = Columns("name", console=terminal()).block([("a",)])
        assert re.sub(r"\x1b\[[0-9;]*m", "", text).split() == ["NAME", "a"]
        assert "\x1b[1m" in text

    def test_narrow(self) -> None:
        """What does not fit is broken, and nothing of it is lost."""
        row = ("a" * 50, "x" * 100, "o" * 30)
        text = Columns("", "", "", console=terminal()).block([row])
        assert [text.count(letter) for letter in "axo"] == [50, 100, 30]
        assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in text.splitlines()) <= 60

    @given(st.text())
    def test_printable(self, text: str) -> None:
        """No cell moves the cursor there either."""
        drawn = pairs([("a", text)], terminal()) + Columns("a", console=terminal()).block([(text,)])
        plain = re.sub(r"\x1b\[[0-9;]*m", "", drawn).replace("\n", "")
        assert plain.isascii()
        assert not plain or plain.isprintable()

    @pytest.mark.parametrize("text", ["[red]a[/]", ":smile:", "a[0]"])
    def test_markup_is_text(self, text: str) -> None:
        """Nothing in a cell means anything to rich."""
        assert text in pairs([("a", text)], terminal())
        assert text in Columns("a", console=terminal()).block([(text,)])
