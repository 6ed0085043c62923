"""Which domains of the zoo a run visits."""

import os
from collections.abc import Sequence
from typing import Final

from tests.e2e.turn import turn
from tests.e2e.zoo.animal import Animal
from tests.e2e.zoo.listing import ANIMALS, rotate

ALWAYS_VISITED: Final = ("good", "expired", "testing", "dane-good")
"""One of each kind: sent, held, with a policy that is not enforced, and decided by DANE."""


def chosen() -> Sequence[Animal]:
    """Return those that ZOO names, or `all`; else those whose turn it is, others in each commit."""
    wanted = os.environ.get("ZOO", "")
    if wanted == "all":
        return ANIMALS
    names = wanted.split(",") if wanted else (*ALWAYS_VISITED, *(e.name for e in rotate(turn())))
    return [each for each in ANIMALS if each.name in names]
