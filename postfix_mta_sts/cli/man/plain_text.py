"""A man page as plain text, for a machine without man(1), or for a pipe.

It knows the part of man(7) that our own pages use, and raises `ValueError` for anything else.
"""

import re
import textwrap
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.cli.man.roff import CHARACTERS

WIDTH: Final = 80
"""Of a line, where nothing says how wide the terminal is."""
_PARAGRAPH: Final = 7
_SUBSECTION: Final = 3
_DEEPER: Final = 4
"""Characters of indentation: of text, of the heading of a subsection, of what belongs to a tag."""
_ESCAPE: Final = re.compile(r"\\(?:f[BIR]|&|\[u([0-9A-F]{4,6})\]|\(..|.)")
_WORD: Final = re.compile(r'"([^"]*)"|(\S+)')
_JOINED: Final = {".B": " ", ".I": " ", ".BR": "", ".IR": "", ".RB": "", ".RI": "", ".BI": ""}
"""Macros for fonts, and what is between their arguments."""


def plain_text(page: str, width: int = WIDTH) -> str:
    """Return a page as text with lines of `width` characters at most, if its examples allow it."""
    return "\n".join(_Page(width).lines(page)).strip("\n") + "\n"


class _Page:
    """The lines of a page, while its source is read."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._words: list[str] = []
        self._indent = _PARAGRAPH
        self._is_example = False
        self._is_tag = False

    def lines(self, page: str) -> Iterator[str]:
        for line in page.splitlines():
            if self._is_example and line != ".EE":
                yield " " * (self._indent + _DEEPER) + _unescaped(line)
                continue
            macro, _, rest = line.partition(" ")
            if macro in _JOINED:
                yield from self._text(_JOINED[macro].join(_arguments(rest)))
            elif line.startswith("."):
                yield from self._macro(macro, rest)
            else:
                yield from self._text(_unescaped(line))
        yield from self._filled()

    def _text(self, text: str) -> Iterator[str]:
        self._words.append(text)
        if self._is_tag:
            self._is_tag = False
            yield from self._filled()
            self._indent = _PARAGRAPH + _DEEPER

    def _macro(self, macro: str, rest: str) -> Iterator[str]:
        yield from self._filled()
        match macro:
            case ".TH":
                name, section, date, source = _arguments(rest)
                yield f"{name}({section})    {source}    {date}"
            case ".SH":
                yield from ("", " ".join(_arguments(rest)))
                self._indent = _PARAGRAPH
            case ".SS":
                yield from ("", " " * _SUBSECTION + " ".join(_arguments(rest)))
                self._indent = _PARAGRAPH
            case ".PP":
                yield ""
                self._indent = _PARAGRAPH
            case ".TP":
                yield ""
                self._indent = _PARAGRAPH
                self._is_tag = True
            case ".EX" | ".EE":
                self._is_example = macro == ".EX"
            case ".br" | ".nh" | ".ad":  # lines are never justified, words never hyphenated
                pass
            case _:
                raise ValueError(f"unknown macro {macro}")

    def _filled(self) -> Iterator[str]:
        """Yield the paragraph up to here."""
        margin = " " * self._indent
        yield from textwrap.wrap(
            " ".join(self._words),
            self._width,
            initial_indent=margin,
            subsequent_indent=margin,
            break_long_words=False,
            break_on_hyphens=False,
        )
        self._words.clear()


def _arguments(rest: str) -> list[str]:
    return [_unescaped(quoted or bare) for quoted, bare in _WORD.findall(rest)]


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, text)


def _character(escape: re.Match[str]) -> str:
    if escape[0] in CHARACTERS:
        return CHARACTERS[escape[0]]
    if escape[1]:
        return chr(int(escape[1], 16))
    if escape[0] == r"\&" or escape[0].startswith(r"\f"):
        return ""
    raise ValueError(f"unknown escape sequence {escape[0]}")
