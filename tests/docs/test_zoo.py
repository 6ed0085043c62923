"""docs/diagnosis.md has a table of all domains of the zoo."""

from tests.e2e.zoo.listing import ANIMALS, FEW, rotate
from tests.e2e.zoo.table import BEGIN, END, PAGE


def test_the_table_has_every_domain() -> None:
    """If this fails: `make zoo` writes the table."""
    table = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    names = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]

    assert names == [animal.name for animal in ANIMALS]


def test_every_domain_has_its_turn() -> None:
    """Successive runs of `make e2e` visit all domains, at least ten in each."""
    turns = [rotate(turn) for turn in range(len(ANIMALS) // FEW)]

    assert {animal.name for turn in turns for animal in turn} == {each.name for each in ANIMALS}
    assert all(len(turn) >= FEW for turn in turns)
