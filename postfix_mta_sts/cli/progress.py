"""A bar that says how far a command has come. Border: drawn by `rich`; only for a terminal.

Who wants one imports this late: the daemon does without `rich`, and without its memory.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn


@contextmanager
def bar(total: int, terminal: TextIO) -> Iterator[Callable[[], None]]:
    """Show a bar that is full after `total` calls of what this gives, and then take it away."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=terminal), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
