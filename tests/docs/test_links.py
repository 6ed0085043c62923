"""Links between the documents lead to a file, and to a heading in it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("[!.]*/README.md")]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def broken(page: Path) -> Iterator[str]:
    """The links of a page, other than those to the Web, that lead nowhere."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Every relative link of a page leads to a file and a heading that exist."""
    assert list(broken(page)) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """A link to a file or a heading that does not exist is reported; one to the Web is not."""
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# See `this`, that\n")
    good = "[a](other.md) [b](other.md#see-this-that) [c](#top) [d](https://example.org/x)"
    page.write_text(f"# Top\n\n{good} [e](gone.md) [f](other.md#gone)\n")
    assert list(broken(page)) == ["gone.md", "other.md#gone"]
