"""What was measured, what it is held against, and the table of both.

Border: numbers in, Markdown out; nothing is measured here.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from bench.servers import DAEMON, FLOOR, OTHER, PEER, PEER_SQLITE

_NO: Final = "no"
_NOT_MEASURED: Final = "unmeasured"

COLUMNS: Final = (DAEMON, OTHER, FLOOR, PEER, PEER_SQLITE)
"""Servers, in the order of the table; it omits those of which it has no value."""


class Cell(NamedTuple):
    """One figure of one server in one shape."""

    shape: str
    figure: str
    """With its unit."""
    server: str = DAEMON


@dataclass(frozen=True, slots=True)
class Mark:
    """What a figure may be at most: `factor`, or `factor` times the median of another cell."""

    factor: float
    of: Cell | None = None
    name: str = ""
    """Of the other cell, as it is written in the table."""

    def __str__(self) -> str:
        return f"≤ {self.factor:g} x {self.name}" if self.of else f"≤ {self.factor:g}"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: a figure of all servers, and the marks that the daemon's must keep."""

    shape: str
    figure: str
    marks: tuple[Mark, ...] = ()
    go: str = ""
    """What postfix-tlspol needed, measured elsewhere on a machine with 2 cores."""


class Sheet:
    """Figures, several for one cell; the median counts."""

    def __init__(self) -> None:
        self._values: defaultdict[Cell, list[float]] = defaultdict(list)
        self._reasons: dict[Cell, str] = {}

    def note(self, shape: str, figure: str, server: str, value: float) -> None:
        """One more value."""
        self._values[Cell(shape, figure, server)].append(value)

    def note_missing(self, shape: str, figure: str, server: str, reason: str) -> None:
        """Why there is no value."""
        self._reasons[Cell(shape, figure, server)] = reason

    def median(self, cell: Cell) -> float | None:
        """The median of a cell's values, if there are any."""
        values = self._values.get(cell)
        return statistics.median(values) if values else None

    def shapes(self) -> set[str]:
        """Of which shapes there is anything."""
        return {cell.shape for cell in self._values}

    def dump(self) -> list[dict[str, object]]:
        """All values, for `json`."""
        return [{**cell._asdict(), "values": values} for cell, values in self._values.items()]

    def table(self, lines: Iterable[Line]) -> str:
        """Return the table as Markdown."""
        columns = [name for name in COLUMNS if name in self._servers()]
        head = ("shape", "figure", *columns, "Go peer, elsewhere", "mark", "held")
        rows = [head, ("---",) * len(head), *(self._row(line, columns) for line in lines)]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def failed(self, lines: Iterable[Line]) -> list[str]:
        """The lines whose marks are not all kept."""
        return [
            f"{line.shape}: {line.figure}"
            for line in lines
            if any(verdict.split()[0] == _NO for verdict in self._verdicts(line))
        ]

    def _servers(self) -> set[str]:
        return {cell.server for cell in (*self._values, *self._reasons)}

    def _row(self, line: Line, columns: Iterable[str]) -> tuple[str, ...]:
        cells = [self._cell(Cell(line.shape, line.figure, server)) for server in columns]
        marks = ", ".join(str(mark) for mark in line.marks)
        return (line.shape, line.figure, *cells, line.go, marks, ", ".join(self._verdicts(line)))

    def _cell(self, cell: Cell) -> str:
        value = self.median(cell)
        return self._reasons.get(cell, "") if value is None else _written(value)

    def _verdicts(self, line: Line) -> list[str]:
        value = self.median(Cell(line.shape, line.figure))
        return [self._verdict(value, mark) for mark in line.marks]

    def _verdict(self, value: float | None, mark: Mark) -> str:
        other = 1.0 if mark.of is None else self.median(mark.of)
        if value is None or other is None:
            return _NOT_MEASURED
        kept = "yes" if value <= mark.factor * other else _NO
        return f"{kept} ({value / other:.2f} x)" if mark.of and other else kept


def _written(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
