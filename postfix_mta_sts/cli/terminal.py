"""Rows as tables, for people: drawn by `rich` on a terminal, plain for a pipe or a file.

Border: layout only. No cell can move a cursor or be taken for markup, wherever it came from. Who
wants a table imports this late: the daemon does without `rich`, and without its memory.
"""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from postfix_mta_sts.mtasts.errors import printable

_GAP = 2
_CELL_MOST = 2_000


class Columns:
    """A table that is drawn block by block, its head once; no column gets narrower on the way.

    `console`: where it is to be seen, standard output if not given.
    """

    def __init__(self, *heads: str, console: Console | None = None) -> None:
        self._heads = [head.upper() for head in heads]
        self._widths = [0] * len(heads)
        self._begun = False
        self._console = console or Console()

    def block(self, rows: Iterable[Sequence[object]]) -> str:
        """The lines of some more rows; None is an empty cell."""
        cells = [[_cell(value) for value in row] for row in rows]
        lines = cells if self._begun else [self._heads, *cells]
        for line in lines:
            self._widths = [max(w, len(c)) for w, c in zip(self._widths, line, strict=True)]
        text = self._drawn(cells) if self._console.is_terminal else _plain(lines, self._widths)
        self._begun = True
        return text

    def _drawn(self, cells: Iterable[Sequence[str]]) -> str:
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
        table.show_header = not self._begun
        fits = sum(self._widths) + _GAP * len(self._widths) <= self._console.width
        for head, width in zip(self._heads, self._widths, strict=True):
            table.add_column(head, min_width=width if fits else None, overflow="fold")
        for row in cells:
            table.add_row(*map(Text, row))
        return _rendered(self._console, table)


def pairs(rows: Iterable[tuple[str, object]], console: Console | None = None) -> str:
    """The lines of names and what stands behind them."""
    console = console or Console()
    cells = [(name, _cell(value)) for name, value in rows]
    if not console.is_terminal:
        return _plain(cells, [max((len(name) for name, _ in cells), default=0), 0])
    table = Table.grid(padding=(0, _GAP, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in cells:
        table.add_row(Text(name), Text(text))
    return _rendered(console, table)


def _cell(value: object) -> str:
    return "" if value is None else printable(str(value), _CELL_MOST)


def _plain(lines: Iterable[Sequence[str]], widths: Sequence[int]) -> str:
    """A row a line, never broken, so that `grep` finds it; rich takes 400 µs for one."""
    gap = " " * _GAP
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join(gap.join(line).rstrip() for line in padded)


def _rendered(console: Console, table: Table) -> str:
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
