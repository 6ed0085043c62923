"""docs/doctor.md has every finding of `doctor`, once, with its effect."""

import re
from typing import Final

from postfix_mta_sts.admin.doctor.ids import IDS
from tests.docs.blocks import ROOT

PAGE: Final = (ROOT / "docs/doctor.md").read_text("utf-8")
ROWS: Final = re.findall(
    r"^\| `([a-z0-9-]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE
)


def test_ids() -> None:
    """The rows have the ids that the program knows, in the same order."""
    assert [row[0] for row in ROWS] == list(IDS)


def test_effects() -> None:
    """Each row says what the fault does to mail, in the words of the page."""
    words = {word for row in ROWS for word in re.findall(r"\b(held|unprotected|warning)\b", row[1])}
    assert words == {"held", "unprotected", "warning"}
    assert [row[0] for row in ROWS if not re.search("held|unprotected|warning", row[1])] == []
