"""Rows as tables, for people: drawn by `rich`, with bold heads on a terminal, plain elsewhere.

Border: layout only. No cell can move a cursor or be taken for markup, wherever it came from. Who
wants a table imports this late: the daemon does without `rich`, and without its memory.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from postfix_mta_sts.mtasts.errors import printable

_WIDE: Final = 100_000
"""Columns of what is no terminal: nothing is broken there, so that `grep` finds it."""
_CELL_MOST: Final = 2_000


class Columns:
    """A table that is drawn block by block, its head once; no column gets narrower on the way."""

    def __init__(self, *heads: str) -> None:
        self._heads = heads
        self._widths = [0] * len(heads)
        self._begun = False

    def block(self, rows: Iterable[Sequence[object]]) -> str:
        """The lines of some more rows; None is an empty cell."""
        cells = [[_cell(value) for value in row] for row in rows]
        for each in (self._heads, *cells):
            self._widths = [max(w, len(text)) for w, text in zip(self._widths, each, strict=True)]
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=not self._begun)
        for head, width in zip(self._heads, self._widths, strict=True):
            table.add_column(head.upper(), min_width=min(width, 40), overflow="fold")
        for row in cells:
            table.add_row(*map(Text, row))
        self._begun = True
        return _drawn(table)


def pairs(rows: Iterable[tuple[str, object]]) -> str:
    """The lines of names and what stands behind them."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(_cell(value)))
    return _drawn(table)


def _cell(value: object) -> str:
    return "" if value is None else printable(str(value), _CELL_MOST)


def _drawn(table: Table) -> str:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
