"""Each page of docs/wiring says first what was tried, and has the parts that a reader needs."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.docs.blocks import ROOT

FOLDER: Final = ROOT / "docs/wiring"
INDEX: Final = (FOLDER / "README.md").read_text("utf-8")
PAGES: Final = sorted(page for page in FOLDER.glob("*.md") if page.name != "README.md")
PARTS: Final = ("From nothing to a verified message", "See that it works", "Take it out again")
LAST: Final = ("What was tried", "What was not tried")
_STATE: Final = re.compile(r"# .+\n\n\*\*(Tried|Not tried):\*\* (\S[^#]*?)\n\n")
_DATE: Final = re.compile(r"\bon\s\d{1,2}\s[A-Z][a-z]+\s20\d\d\b")
_ROW: Final = re.compile(r"(?m)^\| [^|]+ \| \[(\S+)\]\(\1\) \| (tried|not tried) \| [^|]+ \|$")


def faults(text: str) -> list[str]:
    """What a page lacks."""
    state = _STATE.match(text)
    found = [] if state else ["does not begin with **Tried:** or **Not tried:**"]
    if state and state[1] == "Tried" and not _DATE.search(state[2]):
        found.append("does not say when it was tried")
    parts = re.findall(r"(?m)^## (.+)$", text)
    found += [f"lacks {each!r}" for each in PARTS if each not in parts]
    if parts and parts[-1] not in LAST:
        found.append(f"ends with {parts[-1]!r}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page: Path) -> None:
    """A page begins with what was tried and when, and has all parts."""
    assert faults(page.read_text("utf-8")) == []


def test_index() -> None:
    """The index has a row for each page, and says of it what the page says."""
    rows = dict(_ROW.findall(INDEX))
    assert rows
    assert rows == {page.name: state(page) for page in PAGES}


def state(page: Path) -> str:
    """The first word of a page, as the index has it."""
    found = _STATE.match(page.read_text("utf-8"))
    assert found
    return found[1].lower()


def test_what_a_page_may_lack() -> None:
    """A page without its first line, a date or a part is noticed."""
    good = "# A\n\n**Tried:** it, on 27 November 2026.\n\n" + "".join(
        f"## {part}\n\ntext\n\n" for part in (*PARTS, LAST[1])
    )
    assert faults(good) == []
    assert faults(good.replace("**Tried:** it,", "It was tried")) == [
        "does not begin with **Tried:** or **Not tried:**"
    ]
    assert faults(good.replace("on 27 November 2026", "here")) == ["does not say when it was tried"]
    assert faults(good.replace("## See", "## Do not see")) == ["lacks 'See that it works'"]
    assert faults(good.replace("What was not", "What else was")) == [
        "ends with 'What else was tried'"
    ]
