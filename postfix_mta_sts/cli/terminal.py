"""Tables and the progress bar: drawn by `rich` on a terminal, plain text for a pipe or a file.

The text of a cell never moves the cursor and is never read as markup. Commands import this module
inside the function that prints: `rich` costs import time and memory, and the daemon and the health
check do not need it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from postfix_mta_sts.mtasts.errors import printable

_GAP: Final = 2
_CELL_LIMIT: Final = 2_000
_NARROWEST: Final = 12
_ENOUGH: Final = 30
"""Characters of the first column in a table with one line a row: at least, and those for which
other columns are left out."""


class Columns:
    """A table that is rendered in blocks: the header once, and no column becomes narrower.

    Without `console`, the table is laid out for standard output. A terminal folds cells that do not
    fit; with `dispensable`, each row stays one line: these columns, the first ones first, are left
    out of a terminal that is too narrow for them, then the first column is cut.
    """

    def __init__(
        self, *headers: str, dispensable: Sequence[str] = (), console: Console | None = None
    ) -> None:
        self._headers = [header.upper() for header in headers]
        self._dispensable = [headers.index(header) for header in dispensable]
        self._is_one_line = bool(dispensable)
        self._shown = list(range(len(headers)))
        self._widths = [0] * len(headers)
        self._header_done = False
        self._console = console or Console()

    def block(self, rows: Iterable[Sequence[object]]) -> str:
        """Return the lines of more rows; None is an empty cell."""
        cells = [[_cell(value) for value in row] for row in rows]
        lines = cells if self._header_done else [self._headers, *cells]
        for line in lines:
            self._widths = [max(w, len(c)) for w, c in zip(self._widths, line, strict=True)]
        text = self._lay_out(lines, cells)
        self._header_done = True
        return text

    def _lay_out(self, lines: Sequence[Sequence[str]], cells: Sequence[Sequence[str]]) -> str:
        if not self._console.is_terminal:
            return _align(lines, self._widths)
        return self._one_line_each(lines) if self._is_one_line else self._draw(cells)

    def _one_line_each(self, lines: Sequence[Sequence[str]]) -> str:
        wanted = min(self._widths[0], _ENOUGH)
        while not self._header_done and self._dispensable and self._room() < wanted:
            self._shown.remove(self._dispensable.pop(0))
        first, *others = self._shown
        room = max(_NARROWEST, min(self._widths[0], self._room()))
        rows = [[_cut(line[first], room), *(line[i] for i in others)] for line in lines]
        text = _align(rows, [room, *(self._widths[i] for i in others)])
        if self._header_done:
            return text
        header, newline, rest = text.partition("\n")
        return _render(self._console, Text(header, "bold")) + newline + rest

    def _room(self) -> int:
        """Characters that the first of the shown columns may have."""
        others = self._shown[1:]
        return self._console.width - sum(self._widths[i] for i in others) - _GAP * len(others)

    def _draw(self, cells: Iterable[Sequence[str]]) -> str:
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
        table.show_header = not self._header_done
        fits = sum(self._widths) + _GAP * len(self._widths) <= self._console.width
        for header, width in zip(self._headers, self._widths, strict=True):
            table.add_column(header, min_width=width if fits else None, overflow="fold")
        for row in cells:
            table.add_row(*map(Text, row))
        return _render(self._console, table)


def pairs(rows: Iterable[tuple[str, object]], console: Console | None = None) -> str:
    """Return the lines of a table with two columns: names and values."""
    console = console or Console()
    cells = [(name, _cell(value)) for name, value in rows]
    if not console.is_terminal:
        return _align(cells, [max((len(name) for name, _ in cells), default=0), 0])
    table = Table.grid(padding=(0, _GAP, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in cells:
        table.add_row(Text(name), Text(text))
    return _render(console, table)


def _cell(value: object) -> str:
    return "" if value is None else printable(str(value), _CELL_LIMIT)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}~"


def _align(lines: Iterable[Sequence[str]], widths: Sequence[int]) -> str:
    """Write each row as one unbroken line, for `grep`; `rich` takes 400 µs for a row."""
    gap = " " * _GAP
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join(gap.join(line).rstrip() for line in padded)


def _render(console: Console, table: Table | Text) -> str:
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


@contextmanager
def progress_bar(total: int, stream: TextIO) -> Iterator[Callable[[], None]]:
    """Show a progress bar while the context is open; each call of the result is one step."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
