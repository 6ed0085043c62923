"""Texts in roff, the language of man pages (groff_char(7))."""

import re
from typing import Final

_ESCAPES: Final = {
    "\\": "\\e",
    "-": "\\-",
    "`": "\\(ga",
    "'": "\\(aq",
    "^": "\\(ha",
    "~": "\\(ti",
}
CHARACTERS: Final = {sequence: character for character, sequence in _ESCAPES.items()}
"""What an escape sequence stands for."""


def escaped(text: str) -> str:
    """Escape a text that is one line."""
    line = "".join(_ESCAPES.get(c, c if c.isascii() else f"\\[u{ord(c):04X}]") for c in text)
    return f"\\&{line}" if line.startswith(".") else line


def sentence(text: str) -> str:
    """Write a help text as a sentence; a first word that is code stays unchanged."""
    capitalized = text[0].upper() + text[1:] if re.match(r"[a-z]+ ", text) else text
    return capitalized if not text or text.endswith(".") else f"{capitalized}."
