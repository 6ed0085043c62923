"""Tables and the progress bar: fitted to a terminal, plain text for a pipe or a file.

The text of a cell never moves the cursor and is never read as markup. Commands import this module
inside the function that prints: `rich` costs import time and memory, and the daemon and the health
check do not need it.
"""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.text import Text

from postfix_mta_sts.mtasts.errors import printable

_BLOCK: Final = 500
"""Rows of a block, if they come one by one."""
_GAP: Final = 2
_NOTE: Final = " " * 4
"""The indent of lines below a row."""
_CELL_LIMIT: Final = 2_000
_NARROWEST: Final = 12
_LABEL: Final = 9
"""Characters of a label."""
_ENOUGH: Final = 30
"""Characters of the first column: at least, and those for which other columns are left out."""


class Columns:
    """A table that is rendered in blocks: the header once, and no column becomes narrower.

    Each row is one line. On a terminal that is too narrow, the columns `dispensable` are left out,
    the first ones first; then the first column is cut, unless no column is dispensable; then the
    line. A terminal shows the last column, if it is `below`, in lines of its own below the row.
    Without `console`, the table is laid out for standard output.
    """

    def __init__(
        self,
        *headers: str,
        dispensable: Sequence[str] = (),
        below: str = "",
        console: Console | None = None,
    ) -> None:
        self._headers = [header.upper() for header in headers]
        self._dispensable = [headers.index(header) for header in dispensable]
        self._may_cut_first = bool(dispensable)
        self._shown = list(range(len(headers)))
        self._widths = [0] * len(headers)
        self._header_done = False
        self._console = console or Console()
        self._has_notes = bool(below) and self._console.is_terminal
        if self._has_notes:
            self._shown.remove(headers.index(below))

    def block(self, rows: Iterable[Sequence[object]]) -> str:
        """Return the lines of more rows; None is an empty cell."""
        cells = [[_cell(value) for value in row] for row in rows]
        lines = cells if self._header_done else [self._headers, *cells]
        for line in lines:
            self._widths = [max(w, len(c)) for w, c in zip(self._widths, line, strict=True)]
        text = self._fit(lines) if self._console.is_terminal else _align(lines, self._widths)
        self._header_done = True
        return text

    def print_rows(self, rows: Iterable[Sequence[object]]) -> bool:
        """Print rows in blocks while they come; return whether there were any."""
        waiting: list[Sequence[object]] = []
        try:
            for row in rows:
                waiting.append(row)
                if len(waiting) == _BLOCK:
                    print(self.block(waiting))
                    waiting.clear()
        finally:  # also if the list breaks off, or after Ctrl-C
            if waiting:
                print(self.block(waiting))
        return self._header_done

    def _fit(self, lines: Sequence[Sequence[str]]) -> str:
        wanted = min(self._widths[0], _ENOUGH)
        while not self._header_done and self._dispensable and self._room() < wanted:
            self._shown.remove(self._dispensable.pop(0))
        first, *others = self._shown
        room = self._widths[first]
        if self._may_cut_first:
            room = max(_NARROWEST, min(room, self._room()))
        rows = [[_cut(line[first], room), *(line[i] for i in others)] for line in lines]
        text = _align(rows, [room, *(self._widths[i] for i in others)])
        width = max(_NARROWEST, self._console.width)
        shown = [_cut(line, width) for line in text.split("\n")]
        if self._has_notes:
            shown = [row + self._note(line[-1]) for row, line in zip(shown, lines, strict=True)]
        if not self._header_done:
            shown[0] = _bold(self._console, shown[0].partition("\n")[0])
        return "\n".join(shown)

    def _note(self, text: str) -> str:
        width = max(_NARROWEST, self._console.width - 1)
        wrapped = textwrap.wrap(
            text, width, initial_indent=_NOTE, subsequent_indent=_NOTE, break_on_hyphens=False
        )
        return "".join(f"\n{line}" for line in wrapped)

    def _room(self) -> int:
        """Characters that the first of the shown columns may have."""
        others = self._shown[1:]
        return self._console.width - sum(self._widths[i] for i in others) - _GAP * len(others)


def pairs(rows: Iterable[tuple[str, object]], console: Console | None = None) -> str:
    """Return the lines of a table with two columns: names and values.

    Each pair is one line, which is not cut: a terminal that is too narrow wraps it, and a copy of
    it has no line end.
    """
    console = console or Console()
    cells = [(name, _cell(value)) for name, value in rows]
    text = _align(cells, [width := max((len(name) for name, _ in cells), default=0), 0])
    if not console.is_terminal:
        return text
    return "\n".join(_bold(console, line[:width]) + line[width:] for line in text.split("\n"))


def headline(text: str, colour: str, console: Console | None = None) -> str:
    """Return a sentence, in bold and in colour where the terminal has it; it is not cut."""
    console = console or Console()
    if not console.is_terminal:
        return text
    width = max(_NARROWEST, console.width)  # 0 with COLUMNS=0
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(_styled(console, line, f"bold {colour}") for line in lines)


def labelled(
    lines: Iterable[tuple[str, str]],
    console: Console | None = None,
    *,
    label_width: int = _LABEL,
) -> str:
    """Return lines with a label each; an empty label belongs to the line before.

    A terminal gets long texts in several lines, indented; a pipe or a file one line for each text.
    `label_width` is in characters.
    """
    console = console or Console()
    if not console.is_terminal:
        return "\n".join(unwrapped(lines, label_width))
    rows = ((_start(label, label_width), _cell(text)) for label, text in lines)
    return "\n".join(_labelled(start, text, console) for start, text in rows)


def listed(items: Iterable[str], console: Console | None = None) -> str:
    """Return a list, with a mark before each item.

    A terminal gets long items in several lines, indented; a pipe or a file one line for each.
    """
    console = console or Console()
    texts = [f"- {_cell(item)}" for item in items]
    if not console.is_terminal:
        return "\n".join(texts)
    width = max(_NARROWEST, console.width)
    wrap = partial(textwrap.fill, width=width, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(map(wrap, texts))


def unwrapped(lines: Iterable[tuple[str, str]], label_width: int = _LABEL) -> list[str]:
    """Return lines with a label each, as a pipe gets them."""
    return [f"{_start(label, label_width)}{_cell(text)}".rstrip() for label, text in lines]


def _start(label: str, width: int) -> str:
    return f"  {label:{width}} "


def _labelled(start: str, text: str, console: Console) -> str:
    room = max(_NARROWEST, console.width - len(start))
    first, *more = textwrap.wrap(text, room, break_on_hyphens=False) or [""]
    rest = [" " * len(start) + line for line in more]
    return "\n".join([_styled(console, start, "bold") + first, *rest])


def _cell(value: object) -> str:
    return "" if value is None else printable(str(value), _CELL_LIMIT)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}~"


def _align(lines: Iterable[Sequence[str]], widths: Sequence[int]) -> str:
    """Write each row as one unbroken line, for `grep`; `rich` takes 400 µs for a row."""
    gap = " " * _GAP
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join(gap.join(line).rstrip() for line in padded)


def _bold(console: Console, text: str) -> str:
    return _styled(console, text, "bold")


def _styled(console: Console, text: str, style: str) -> str:
    """Return the text in a style, if it is not blank and the user has not set $NO_COLOR."""
    if console.no_color or not text.strip():
        return text
    with console.capture() as capture:
        console.print(Text(text, style), end="", soft_wrap=True)
    return capture.get()


@contextmanager
def progress_bar(total: int, stream: TextIO) -> Iterator[Callable[[], None]]:
    """Show a progress bar while the context is open; each call of the result is one step."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
