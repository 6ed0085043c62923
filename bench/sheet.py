"""The measured figures, their marks, and the table of both in Markdown.

This module does not measure anything.
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
    """The upper limit of a figure: `factor`, or `factor` times another cell."""

    factor: float
    of: Cell | None = None
    name: str = ""
    """The name of the other cell in the table."""
    of_worst: bool = False
    """Times the highest value of the other cell, not its median: within the spread of rounds."""

    def __str__(self) -> str:
        if not self.of:
            return f"≤ {self.factor:g}"
        worst = ", worst round" if self.of_worst else ""
        return f"≤ {self.factor:g} x {self.name}{worst}"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: a figure of all servers, and the marks for the daemon."""

    shape: str
    figure: str
    marks: tuple[Mark, ...] = ()
    go: str = ""
    """The figure of postfix-tlspol, measured on another machine with 2 cores."""


class Sheet:
    """Figures, with several values for each cell, of which the median counts."""

    def __init__(self) -> None:
        self._values: defaultdict[Cell, list[float]] = defaultdict(list)
        self._reasons: dict[Cell, str] = {}

    def note(self, shape: str, figure: str, server: str, value: float) -> None:
        """Add a value."""
        self._values[Cell(shape, figure, server)].append(value)

    def note_missing(self, shape: str, figure: str, server: str, reason: str) -> None:
        """Set the reason for a missing value."""
        self._reasons[Cell(shape, figure, server)] = reason

    def median(self, cell: Cell) -> float | None:
        """Return the median of a cell's values, if there are any."""
        values = self._values.get(cell)
        return statistics.median(values) if values else None

    def worst(self, cell: Cell) -> float | None:
        """Return the highest of a cell's values, if there are any."""
        return max(self._values.get(cell, ()), default=None)

    def dump(self) -> list[dict[str, object]]:
        """Return all values, for `json`."""
        return [{**cell._asdict(), "values": values} for cell, values in self._values.items()]

    def table(self, lines: Iterable[Line]) -> str:
        """Return the table as Markdown."""
        columns = [name for name in COLUMNS if name in self._servers()]
        head = ("shape", "figure", *columns, "Go peer, elsewhere", "mark", "held")
        rows = [head, ("---",) * len(head), *(self._row(line, columns) for line in lines)]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def failed(self, lines: Iterable[Line]) -> list[str]:
        """Return the lines with a mark that is missed."""
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
        return self._reasons.get(cell, "") if value is None else _format(value)

    def _verdicts(self, line: Line) -> list[str]:
        value = self.median(Cell(line.shape, line.figure))
        return [self._verdict(value, mark) for mark in line.marks]

    def _verdict(self, value: float | None, mark: Mark) -> str:
        other = self.median(mark.of) if mark.of else 1.0
        limit = self.worst(mark.of) if mark.of and mark.of_worst else other
        if value is None or other is None or limit is None:
            return _NOT_MEASURED
        kept = "yes" if value <= mark.factor * limit else _NO
        return f"{kept} ({value / other:.2f} x)" if mark.of and other else kept


def _format(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
