"""What is written by hand in postfix-mta-sts(1) says the same as the program and docs/."""

import re
import shlex
from typing import Final

import pytest

from postfix_mta_sts.cli.main import build_parser
from postfix_mta_sts.cli.man.pages import source
from postfix_mta_sts.cli.man.plain_text import plain_text
from tests.docs.blocks import PROGRAMS, ROOT

PAGE: Final = plain_text(source("postfix-mta-sts"), width=10_000)
"""Each paragraph is one line."""
DOCS: Final = {path.stem: path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")}


def part(heading: str, subsection: str = "") -> str:
    """Return a section of the page, or one of its subsections."""
    text = PAGE.partition(f"\n{heading}\n")[2]
    text = re.split(r"^(?=[A-Z])", text, maxsplit=1, flags=re.MULTILINE)[0]
    if subsection:
        text = text.partition(f"\n   {subsection}\n")[2]
        text = re.split(r"^   (?=\S)", text, maxsplit=1, flags=re.MULTILINE)[0]
    assert text, (heading, subsection)
    return text


def tagged(text: str) -> dict[str, str]:
    """Return the tagged paragraphs: each word of a tag → the text below it."""
    found = re.findall(r"^ {7}(\S.*)\n {11}(\S.*)$", text, re.MULTILINE)
    return {
        tag: meaning for tags, meaning in found for tag in re.split(r", (?!dns|dane|https)", tags)
    }


def examples() -> list[str]:
    """Return the commands of EXAMPLES; one that is continued is one line."""
    shown = re.findall(r"^ {11}(\S(?:.*[\\|]\n)*.*)$", part("EXAMPLES"), re.MULTILINE)
    return [re.sub(r" *\\?\n +", " ", command) for command in shown]


@pytest.mark.parametrize("command", examples())
def test_example(command: str) -> None:
    """Each example is a command that the program accepts, or one of a program that docs/ use."""
    words = shlex.split(re.split(r" [|>] ", command)[0])
    assert words[0] in PROGRAMS
    if words[0] == "postfix-mta-sts":
        build_parser().parse_args(words[1:])


def test_examples() -> None:
    """There is an example of each command that an administrator types."""
    named = {words[1] for words in map(str.split, examples()) if words[0] == "postfix-mta-sts"}
    every = set(re.findall(r"^ {7}postfix-mta-sts (\S+)", part("SYNOPSIS"), re.MULTILINE))
    assert every - named == {"serve", "version"}  # the unit runs the first


def table(page: str, heading: str) -> dict[str, str]:
    """Return the table of exit codes below a heading of a page of docs/."""
    text = DOCS[page].partition(f"{heading}\n")[2]
    rows = re.search(r"^\|.*\|\n\|---\|---\|\n((?:\|.*\|\n)+)", text, re.MULTILINE)
    assert rows, (page, heading)
    return dict(re.findall(r"^\| (\S+) \| (.*) \|$", rows[1], re.MULTILINE))


def plain(text: str) -> str:
    """Return a text without marks of code, with a small first letter, without its full stop."""
    bare = re.sub("[`*]", "", text).removesuffix(".")
    return bare[0].lower() + bare[1:]


@pytest.mark.parametrize(
    ("command", "page", "heading"),
    [
        ("most commands", "control", "# Controlling a running daemon"),
        ("query", "diagnosis", "## Exit codes"),
        ("doctor", "doctor", "## Exit codes"),
        ("status --nagios", "control", "### For Nagios"),
        ("trial report, trial scan", "trial", "## Exit codes"),
    ],
)
def test_exit_codes(command: str, page: str, heading: str) -> None:
    """The exit codes are those of the table in docs/, in the same words."""
    ours = {code: plain(text) for code, text in tagged(part("EXIT STATUS", command)).items()}
    assert ours == {code: plain(text) for code, text in table(page, heading).items()}


def test_exit_codes_of_fleet_check() -> None:
    """Those of `fleet check`, which docs/fleet.md has in a sentence."""
    said = re.search(
        r"Exit code (0: all is well; 1: .*?; 2: the store cannot be used)\.", DOCS["fleet"]
    )
    assert said
    ours = tagged(part("EXIT STATUS", "fleet check")).items()
    assert "; ".join(f"{code}: {plain(text)}" for code, text in ours) == said[1]


def test_labels_of_query() -> None:
    """The labels in the output of `query` are those of docs/diagnosis.md."""
    lines = DOCS["diagnosis"].partition("## What the lines mean\n")[2].partition("\n## ")[0]
    labels = re.findall(r"^\| ([^|]+?) \| [^|]", lines.replace("\\|", "¦"), re.MULTILINE)
    numbered = "1¦, 2>"
    assert numbered in labels
    every = {
        name for each in labels if each not in ("label", numbered) for name in each.split(", ")
    }
    assert tagged(part("OUTPUT", "query")).keys() == every


@pytest.mark.parametrize(
    ("command", "page", "heading", "pattern"),
    [
        ("status", "control", "## status", r"^    (\S+(?: \S+)*) {2,}"),
        ("policy list", "control", "## policy list", r"(?:^   |  ) *([A-Z]{2,})(?=  |$)"),
        ("policy show", "control", "## policy show DOMAIN", r"^    ([a-zDM]\S+(?: \S+)*) {2,}\S"),
        ("exception list", "exceptions", "## Where they are seen", r"(?:^   |  ) *([A-Z]{2,})"),
        ("trial report", "trial", "    DOMAIN", r"^    ([a-z]\S+(?: [a-z]+)*) {2,}[^ ](?!.*ago  )"),
    ],
)
def test_labels(command: str, page: str, heading: str, pattern: str) -> None:
    """Each label and each column in the examples of docs/ is explained."""
    text = DOCS[page].partition(f"{heading}\n" if heading[0] == "#" else heading)[2]
    text = text.partition("\n## ")[0].partition("\n### ")[0].partition("`status --fleet`")[0]
    shown = set(re.findall(pattern, text, re.MULTILINE))
    assert len(shown) > 4
    explained = tagged(part("OUTPUT", command)).keys()
    assert shown - explained == set()


def test_effects_of_doctor() -> None:
    """What a fault does to mail is explained, in the words of the output."""
    from postfix_mta_sts.cli.doctor_text import _EFFECTS  # noqa: PLC0415 (for this test alone)

    assert tagged(part("OUTPUT", "doctor")).keys() == set(_EFFECTS.values())
