"""docs/architecture.md names every folder and module of the package, and the layers as they are."""

import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "architecture.md").read_text("utf-8")
PACKAGE: Final = ROOT / "postfix_mta_sts"


def parts_of_code() -> set[str]:
    """The packages (`store/`) and the modules (`values.py`) directly below the package."""
    packages = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    return packages | modules


def parts_of_page(page: str) -> list[str]:
    """The folders and modules that are the first cell of a table row."""
    return re.findall(r"^\| `(\w+(?:/|\.py))` \| \S", page, re.MULTILINE)


def faults(page: str, parts: Collection[str]) -> Iterator[str]:
    """Each part that the page lacks, names twice, or names although there is none."""
    named = Counter(parts_of_page(page))
    yield from (f"not in the page: {part}" for part in sorted(parts) if part not in named)
    yield from (f"not in the package: {part}" for part in sorted(named) if part not in parts)
    yield from (f"{count} times: {part}" for part, count in named.items() if count > 1)


def layers_of_page(page: str) -> list[str]:
    """The lines of the code block below the heading "Layers"."""
    section = page.partition("\n## Layers\n")[2].partition("\n## ")[0]
    return [line.strip() for line in section.splitlines() if line.startswith("    ")]


def test_every_part_is_named() -> None:
    """A new package or module gets a sentence, and a removed one loses it."""
    assert list(faults(PAGE, parts_of_code())) == []


def test_layers() -> None:
    """The page shows the layers that import-linter enforces."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each["type"] == "layers"]
    assert layers_of_page(PAGE) == layers


def test_files_that_are_named_exist() -> None:
    """Outside of the rooms for later work, each path of a file leads to one."""
    page = PAGE.partition("\n## Rooms for later work\n")[0]
    named = re.findall(r"`(\w+(?:/\w+)+\.py)`", page)
    assert len(named) > 15
    assert [name for name in named if not (PACKAGE / name).is_file()] == []


GOOD: Final = "| `store/` | Keeps policies. |\n| `logs.py` | One line for each event. |\n"


def test_a_good_page_has_no_fault() -> None:
    """The faults below are caused by what each of them changes."""
    assert list(faults(GOOD, {"store/", "logs.py"})) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("| `logs.py` | One", "| logs.py | One", "not in the page: logs.py"),
        ("Keeps policies.", "", "not in the page: store/"),
        ("`store/`", "`stores/`", "not in the package: stores/"),
        ("`store/`", "`logs.py`", "2 times: logs.py"),
    ],
)
def test_a_bad_page_is_a_fault(old: str, new: str, fault: str) -> None:
    """A part that is missing, without a sentence, unknown or repeated is reported."""
    assert fault in faults(GOOD.replace(old, new), {"store/", "logs.py"})


def test_layers_are_read_from_their_section() -> None:
    """Other code blocks of the page are not layers."""
    page = "\n## Parts\n\n    a\n\n## Layers\n\nText.\n\n    cli\n    a | b\n\n## More\n\n    x\n"
    assert layers_of_page(page) == ["cli", "a | b"]
