"""Man pages as plain text: the same words as mandoc's, and nothing that is not understood."""

import re
import subprocess

import pytest

from postfix_mta_sts.cli.man.pages import PAGES, source
from postfix_mta_sts.cli.man.plain_text import plain_text
from tests.support.programs import program


def characters(text: str) -> str:
    """The text of a page without blanks: mandoc breaks lines also behind hyphens."""
    return "".join(text.split())


@pytest.mark.parametrize("name", PAGES)
def test_same_text_as_mandoc(name: str) -> None:
    """A page has the text that mandoc shows."""
    page = source(name)
    shown = subprocess.run(
        [program("mandoc"), "-T", "utf8", "-O", "width=200"],
        input=page,
        capture_output=True,
        text=True,
        check=True,
    )
    _, *expected, _ = re.sub(".\b", "", shown.stdout).strip().splitlines()
    _, *ours = plain_text(page).splitlines()
    assert len(ours) > 200
    assert characters("".join(ours)) == characters("".join(expected))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [40, 80])
def test_width(name: str, width: int) -> None:
    """No line of a paragraph is wider than the terminal, unless it is one word."""
    page = re.sub(r"(?s)\.EX\n.*?\.EE\n", "", source(name))
    filled = [line for line in plain_text(page, width).splitlines() if line.startswith(" " * 7)]
    assert max(map(len, filled)) > width - 5
    assert [line for line in filled if len(line) > width and len(line.split()) > 1] == []


def test_layout() -> None:
    """Headings, paragraphs, tagged paragraphs and examples, each with its indentation."""
    page = r""".TH A 1 "2026-01-01" "a 1.0"
.SH NAME
a \- \fBb\fR
.SH "MORE TEXT"
one
.B two three
.BR four (5),
.PP
.EX
x  \e
    \-\-y
.EE
.SS Part
.TP
.BI \-\-tag " VALUE"
what it
means
.PP
end
"""
    assert plain_text(page).splitlines() == [
        "A(1)    a 1.0    2026-01-01",
        "",
        "NAME",
        "       a - b",
        "",
        "MORE TEXT",
        "       one two three four(5),",
        "",
        "           x  \\",
        "               --y",
        "",
        "   Part",
        "",
        "       --tag VALUE",
        "           what it means",
        "",
        "       end",
    ]


@pytest.mark.parametrize("line", [".XY a", r"a \*(lq b", r"a \(zz b"])
def test_unknown(line: str) -> None:
    """A macro or an escape sequence that is not known is an error, not lost text."""
    with pytest.raises(ValueError, match="unknown"):
        plain_text(f".SH A\n{line}\n")
