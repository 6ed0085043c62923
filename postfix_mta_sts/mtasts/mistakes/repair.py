"""Find mistakes in a text by repairing it, one kind after another."""

import re
from collections.abc import Sequence
from typing import NamedTuple, Self

from postfix_mta_sts.values import Value


class Wrong(NamedTuple):
    """One mistake in a text."""

    code: str
    found: str
    """What is wrong, without the text itself."""


class Repair(Value, frozen=True):
    """One way to write a text wrong: what matches the pattern is replaced."""

    code: str
    found: str
    pattern: re.Pattern[str]
    replacement: str

    @classmethod
    def of(cls, code: str, found: str, pattern: str, replacement: str) -> Self:
        """A repair that takes no notice of case."""
        return cls(code, found, re.compile(pattern, re.IGNORECASE), replacement)


def repair(text: str, repairs: Sequence[Repair]) -> tuple[list[Wrong], str]:
    """Apply the repairs in their order; return those that changed the text, and the result."""
    wrong = []
    for each in repairs:
        better = each.pattern.sub(each.replacement, text)
        if better != text:
            wrong.append(Wrong(each.code, each.found))
            text = better
    return wrong, text
