"""Reads the output of a program: a copy for people, lines to wait for by tests."""

import re
import threading
from pathlib import Path
from typing import IO

TIMEOUT = 60.0
"""Seconds that a test waits for a line at most; only a failing test waits that long."""


class Transcript:
    """Reads `stream` to its end in a thread of its own, and writes a copy to `path`."""

    def __init__(self, stream: IO[str], path: Path) -> None:
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(stream, path), daemon=True)
        self._reader.start()

    @property
    def mark(self) -> int:
        """The index of the next line."""
        with self._changed:
            return len(self._lines)

    def since(self, mark: int) -> list[str]:
        """Return the lines from `mark` on."""
        with self._changed:
            return self._lines[mark:]

    def wait(self, pattern: str, mark: int = 0, seconds: float = TIMEOUT) -> re.Match[str]:
        """Wait for the first match of a regular expression from `mark` on, and return it.

        Raises AssertionError if the program ends first, or after `seconds`.
        """
        found: re.Match[str] | None = None

        def look() -> bool:
            nonlocal found, mark
            for line in self._lines[mark:]:
                mark += 1
                if found := re.search(pattern, line):
                    return True
            return self._ended

        with self._changed:
            self._changed.wait_for(look, seconds)
            tail = "\n".join(self._lines[-40:])
        assert found, f"no line matches {pattern!r}; the last ones are:\n{tail}"
        return found

    def end(self) -> None:
        """Wait until everything is read."""
        self._reader.join(TIMEOUT)

    def _read(self, stream: IO[str], path: Path) -> None:
        with stream, path.open("a", buffering=1) as copy:
            for line in stream:
                copy.write(line)
                with self._changed:
                    self._lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
