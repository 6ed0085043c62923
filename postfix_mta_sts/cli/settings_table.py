"""Lay out settings, their values and their sources for a terminal, or one a line for a pipe."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

Row: TypeAlias = tuple[str, str, str]
"""Key, value, source."""

_KEY_WIDTH: Final = 28
_VALUE_WIDTH: Final = 20
_INDENT: Final = 4
_GAP: Final = "  "


def plain(rows: Sequence[Row]) -> Iterator[str]:
    """Yield one line for each setting, to `grep`; the file stands before each line number."""
    for key, value, source in rows:
        yield f"{key:{_KEY_WIDTH}}{_GAP}{value:{_VALUE_WIDTH}}{_GAP}{source}"


def fitted(rows: Sequence[Row], width: int, file: str) -> Iterator[str]:
    """Yield lines that fit into `width` columns; the file is named once, in the first line.

    A value or a source that has no room in the line of its key follows in lines of its own. Only a
    single word that is longer than a line, such as a path, is longer: a terminal wraps it, so that
    it can be copied.
    """
    yield f"# lines are those of {file}"
    key_width = min(max(len(key) for key, _, _ in rows), width // 2)
    for key, value, source in rows:
        yield from _fitted(key, value, source.replace(f"{file}:", "line "), key_width, width)


def _fitted(key: str, value: str, source: str, key_width: int, width: int) -> Sequence[str]:
    line = f"{key:{key_width}}{_GAP}{value:{_VALUE_WIDTH}}{_GAP}{source}"
    if len(line) <= width:
        return [line]
    indent = key_width + len(_GAP)
    has_room = len(key) <= key_width and max(map(len, value.split())) <= width - indent
    if not has_room:
        indent = _INDENT
    room = max(1, width - indent)
    parts = textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False)
    lines = [f"{'':{indent}}{part}" for part in parts]
    if has_room:
        lines[0] = f"{key:{indent}}{parts[0]}"
    else:
        lines.insert(0, key)
    last = f"{lines[-1]}{_GAP}{source}"
    return [*lines[:-1], last] if len(last) <= width else [*lines, f"{'':{indent}}{source}"]
