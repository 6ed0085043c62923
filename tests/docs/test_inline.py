"""Commands, options and settings that the pages name in their text exist, as they are written.

Blocks of commands have a test of their own, `test_commands.py`; names of parameters of Postfix are
compared with a real one (`tests/e2e/test_troubleshooting.py`).
"""

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from bench import run as bench
from postfix_mta_sts.cli.main import MODULES, build_parser
from postfix_mta_sts.config.settings import parse
from tests.docs.blocks import PAGES, ROOT, blocks
from tests.docs.log_events import events_of_code
from tests.docs.test_migrating import is_key
from tests.torture import __main__ as torture

OTHER_PROGRAMS: Final = {"--user", "--disable-uvloop"}
"""Options of docker and of postfix-mta-sts-resolver."""
EVENTS: Final = set(events_of_code()[0])
FOR_ADMINISTRATORS: Final = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
EXAMPLE: Final = [*ROOT.glob("config.example.yml"), *ROOT.glob("postfix_mta_sts/cli/man/*.in")]


def spans(page: Path) -> Iterator[str]:
    """Yield the words in code type of a page."""
    yield from re.findall(r"`([^`\n]+)`", page.read_text("utf-8"))


def commands(page: Path) -> Iterator[str]:
    """Yield the commands of this program in a page, without its name."""
    for text in spans(page):
        name, _, rest = text.removeprefix("postfix-mta-sts ").partition(" ")
        if name in MODULES and text not in EVENTS and (rest or text.startswith("postfix-mta-sts ")):
            yield f"{name} {rest}"
    for block in blocks(page):
        text = block.text.replace("\\\n", " ")
        found = re.findall(r"(?<![-/])(\"?)\bpostfix-mta-sts +([a-z][^|#>\n]*)", text)
        for quote, command in found:  # an argument of another program is in quotes
            yield command.partition(quote)[0] if quote else command


def parses(words: list[str]) -> bool:
    """Whether the program accepts these words; a domain, a file or a number may be missing."""
    for more in ([], ["example.com"], ["2"]):
        try:
            build_parser().parse_args([*words, *more])
        except SystemExit:
            continue
        return True
    return False


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the options of a parser and of its commands."""
    for action in parser._actions:  # argparse has no other list of them
        yield from action.option_strings
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                yield from options(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands(page: Path) -> None:
    """Each command in the text, in a table or in a block is one that the program accepts."""
    wrong = [text for text in commands(page) if not parses(shlex.split(text.split("||")[0]))]
    assert wrong == []


def test_options() -> None:
    """Each option that is named alone is one of some command."""
    known = {*options(build_parser()), *OTHER_PROGRAMS}
    texts = [text for page in FOR_ADMINISTRATORS for text in spans(page)]
    named = {text.split()[0] for text in texts if text.startswith("--")}
    assert len(named) > 5
    assert named - known == set()


@pytest.mark.parametrize("page", [*FOR_ADMINISTRATORS, *EXAMPLE], ids=lambda page: page.stem)
def test_settings(page: Path) -> None:
    """Each setting that is named exists; with a value, the value is accepted."""
    sections = "alerts|cache|checks|control|dane|dns|fleet|https|log|lookup|metrics|refresh|trial"
    pattern = rf"(?:{sections})\.[a-z_]+(?:: .+)?"
    for text in spans(page):
        if not re.fullmatch(pattern, text) or text == "control.sock":
            continue
        key, _, value = text.partition(": ")
        if page.stem == "migrating" and not is_key(key):
            continue  # of another program; test_migrating.py looks at the others
        assert is_key(key), text
        if value:
            section, _, name = key.partition(".")
            parse(f"{section}: {{{name}: {value}}}", text)


@pytest.mark.parametrize(
    ("page", "parser"),
    [("bench/README.md", bench.parser()), ("tests/torture/README.md", torture.parser())],
)
def test_options_of_make(page: str, parser: argparse.ArgumentParser) -> None:
    """The options in the commands that run too long for a test are accepted."""
    text = (ROOT / page).read_text("utf-8")
    named = re.findall(r"OPTIONS=('[^'\n]*'|\S+)", text)
    assert named
    for words in named:
        parser.parse_args(shlex.split(words.strip("'")))
