"""Tables: plain text for a pipe, and drawn for a terminal."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from postfix_mta_sts.cli.terminal import Columns, headline, labelled, listed, pairs, unwrapped


def terminal() -> Console:
    """A narrow terminal."""
    return Console(file=io.StringIO(), force_terminal=True, width=60, color_system="standard")


def test_block() -> None:
    """Columns are aligned with their headers; None is an empty cell."""
    text = Columns("name", "number").block([("a", 1), ("bcdef", None)])
    assert text == "NAME   NUMBER\na      1\nbcdef"


def test_further_blocks() -> None:
    """The header is printed once, and no column becomes narrower."""
    table = Columns("a", "b")
    assert table.block([("xxxx", "y")]) == "A     B\nxxxx  y"
    assert table.block([("x", "y")]) == "x     y"


def test_no_rows() -> None:
    """A table without rows is its header."""
    assert Columns("a").block([]) == "A"


def test_pairs() -> None:
    """Names and values are aligned."""
    assert pairs([("one", 1), ("three", "3 4")]) == "one    1\nthree  3 4"


def test_long_lines_are_not_broken() -> None:
    """Without a terminal each row is one line, however long."""
    assert pairs([("a", "x y " * 400)]).count("\n") == 0


@pytest.mark.parametrize("text", ["[red]a[/]", "[/]", "[link=x]", ":smile:", "\\[b]", "a[0]"])
def test_markup_is_text(text: str) -> None:
    """Markup of rich in a cell is printed as text."""
    assert text in pairs([("a", text)])
    assert text in Columns("a").block([(text,)])


@given(st.text())
def test_printable(text: str) -> None:
    """Any cell is printed as one line of printable ASCII."""
    drawn = pairs([("a", text)])
    assert drawn.isascii()
    assert not drawn.strip() or drawn.isprintable()


class TestTerminal:
    """Output for a terminal, drawn by rich."""

    def test_header(self) -> None:
        """The header is bold."""
        text = Columns("name", console=terminal()).block([("a",)])
        assert re.sub(r"\x1b\[[0-9;]*m", "", text).split() == ["NAME", "a"]
        assert "\x1b[1m" in text

    def test_narrow(self) -> None:
        """A row that does not fit is cut: it stays one line."""
        row = ("a" * 50, "x" * 100, "o" * 30)
        text = Columns("", "", "", console=terminal()).block([row])
        assert text == "\n" + "a" * 50 + "  " + "x" * 7 + "~"

    def test_long_value(self) -> None:
        """A value beside its name is not cut, and has no line end: a copy of it is complete."""
        text = pairs([("mx", "x" * 100), ("", "y")], terminal())
        assert re.sub(r"\x1b\[[0-9;]*m", "", text) == f"mx  {'x' * 100}\n    y"

    @given(st.text())
    def test_printable(self, text: str) -> None:
        """No cell can move the cursor."""
        drawn = pairs([("a", text)], terminal()) + Columns("a", console=terminal()).block([(text,)])
        plain = re.sub(r"\x1b\[[0-9;]*m", "", drawn).replace("\n", "")
        assert plain.isascii()
        assert not plain or plain.isprintable()

    @pytest.mark.parametrize("text", ["[red]a[/]", ":smile:", "a[0]"])
    def test_markup_is_text(self, text: str) -> None:
        """Markup of rich in a cell is printed as text."""
        assert text in pairs([("a", text)], terminal())
        assert text in Columns("a", console=terminal()).block([(text,)])


def test_headline() -> None:
    """A sentence is bold and in colour, on as many lines as it takes; plain without colours."""
    text = "Mail to good.test is held: " + "word " * 10
    lines = headline(text, "red", terminal()).split("\n")
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines] == [
        "Mail to good.test is held: word word word word word word",
        "word word word word",
    ]
    assert all(line.startswith("\x1b[1;31m") and line.endswith("\x1b[0m") for line in lines)
    plain = Console(file=io.StringIO(), force_terminal=True, width=60, no_color=True)
    assert "\x1b" not in headline(text, "red", plain)
    assert headline(text, "red", Console(file=io.StringIO())) == text


LINES = [("MX", "word " * 20), ("", "x"), ("odd", ""), ("text", "a\x1b[2J\u202e")]


def test_labelled() -> None:
    """A long text goes on below its start, under its label; control characters are escaped."""
    plain = Console(file=io.StringIO(), force_terminal=True, width=60, no_color=True)
    assert labelled(LINES, plain).split("\n") == [
        "  MX        word word word word word word word word word",
        "            word word word word word word word word word",
        "            word word",
        "            x",
        "  odd       ",
        r"  text      a\x1b[2J\u202e",
    ]


def test_labels_of_another_width() -> None:
    """The caller says how wide its labels are, for a terminal and for a pipe."""
    plain = Console(file=io.StringIO(), force_terminal=True, width=30, no_color=True)
    lines = [("a longer label", "word " * 4)]
    assert labelled(lines, plain, label_width=14).split("\n") == [
        "  a longer label word word",
        "                 word word",
    ]
    pipe = Console(file=io.StringIO())
    assert labelled([("a", "b")], pipe, label_width=4) == "  a    b"


def test_labelled_in_a_pipe() -> None:
    """In a pipe each text is one line, for `grep`."""
    lines = unwrapped(LINES)
    assert labelled(LINES, Console(file=io.StringIO())).split("\n") == lines
    assert [line[:12] for line in lines] == ["  MX        ", " " * 12, "  odd", "  text      "]


@pytest.mark.parametrize("width", [0, 1, 5])
def test_hardly_any_width(width: int) -> None:
    """With COLUMNS=0 a terminal gets lines of a dozen characters, and no error."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, no_color=True)
    words = "one two three four"
    assert headline(words, "red", console) == "one two\nthree four"
    assert listed([words], console) == "- one two\n  three four"
    assert labelled([("a", words)], console).split("\n")[1:] == ["            three four"]
    assert pairs([("a", words)], console) == f"a  {words}"
    table = Columns("", "below", below="below", console=console)
    assert table.block([(words, words)]).split("\n") == [
        "",
        "one two thr~",
        "    one two",
        "    three",
        "    four",
    ]
