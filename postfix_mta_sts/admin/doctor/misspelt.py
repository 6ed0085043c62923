"""Which parameter of Postfix was meant by a name that it does not know. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

from postfix_mta_sts.admin.doctor.own_tables import PARAMETER
from postfix_mta_sts.postfix.installed.values import Instance

LIMIT: Final = 2
"""Letters that may be wrong, missing or too many."""


def meant(name: str, known: Iterable[str]) -> str:
    """The known name that is most like this one, within the limit; empty: there is none."""
    near = [(distance, each) for each in known if (distance := _distance(name, each)) <= LIMIT]
    return min(near, default=(0, ""))[1]


def _distance(one: str, other: str) -> int:
    """The edits that make one name the other (Levenshtein); above the limit only a lower bound."""
    if abs(len(one) - len(other)) > LIMIT:
        return LIMIT + 1
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, row = row, [i]
        for j, theirs in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (letter != theirs)))
        if min(row) > LIMIT:
            return LIMIT + 1
    return row[-1]


def is_the_map(instance: Instance, name: str, value: str) -> bool:
    """Whether an unknown parameter was meant to name the table of a daemon."""
    asks = any(kind in value for kind in ("socketmap:", "tcp:"))
    return asks and meant(name, instance.parameters) == PARAMETER


def has_the_map(instance: Instance) -> bool:
    """Whether main.cf names such a table under a name that Postfix does not know."""
    return any(is_the_map(instance, *each) for each in unused_of(instance))


def unused_of(instance: Instance) -> Sequence[tuple[str, str]]:
    """Name and value of each parameter that Postfix does not know."""
    pairs = (each.partition("=") for each in instance.unused)
    return [(name.strip(), value.strip()) for name, _, value in pairs]
