"""The man pages: they contain every command and every key, and mandoc finds no errors."""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import fields

from postfix_mta_sts import __version__
from postfix_mta_sts.cli.main import build_parser
from postfix_mta_sts.config.settings import Settings
from tests.support.programs import program

SCRIPT = Path(__file__).parents[2] / "contrib/man/pages.py"
PAGES = ("postfix-mta-sts.1", "postfix-mta-sts.yml.5")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the man pages with a fixed date; return their folder."""
    folder = tmp_path_factory.mktemp("man")
    environ = {"SOURCE_DATE_EPOCH": "1790000000"}
    subprocess.run([sys.executable, SCRIPT, folder], check=True, env=environ)
    return folder


def plain(page: Path) -> str:
    """Return a page without roff escapes."""
    text = re.sub(r"\\f[BIR]|\\&", "", page.read_text("utf-8"))
    return text.replace(r"\-", "-").replace(r"\(aq", "'")


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield every command."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for group in groups:
        for command in group.choices.values():
            yield from commands(command)
    if not groups:
        yield parser


def keys() -> Iterator[tuple[str, str]]:
    """Yield section and key of every key in a section."""
    for section in fields(Settings):
        if isinstance(section.type, type) and issubclass(section.type, Struct):
            for key in fields(section.type):
                yield section.name, key.name


@pytest.mark.parametrize(
    "command", list(commands(build_parser())), ids=lambda command: command.prog
)
def test_command(pages: Path, command: argparse.ArgumentParser) -> None:
    """Each command has a section in (1), with all its arguments."""
    text = plain(pages / "postfix-mta-sts.1")
    part = text.partition(f".SS {command.prog.partition(' ')[2]}\n")[2].partition("\n.S")[0]
    assert part.startswith(command.prog)
    for action in command._actions:
        for name in action.option_strings or [str(action.metavar)]:
            assert name in part or name in ("-h", "--help")


@pytest.mark.parametrize(("section", "key"), list(keys()))
def test_key(pages: Path, section: str, key: str) -> None:
    """Each key is in (5), with its default and the comment of the example."""
    text = plain(pages / "postfix-mta-sts.yml.5")
    assert re.search(rf"^{section}\.{key} \(default: .+\)\n.+", text, re.MULTILINE)


def test_examples(pages: Path) -> None:
    """Examples in comments are in (5), unchanged."""
    text = plain(pages / "postfix-mta-sts.yml.5")
    example = (SCRIPT.parents[2] / "config.example.yml").read_text("utf-8")
    examples = [line for line in example.splitlines() if re.match(r"  (# )?- ", line)]
    assert examples
    assert all(line in text for line in examples)


@pytest.mark.parametrize("name", PAGES)
def test_header(pages: Path, name: str) -> None:
    """The header of a page has the version and the date of the build."""
    header = plain(pages / name).splitlines()[0]
    assert header.endswith(f'"2026-09-21" "postfix-mta-sts {__version__}"')
    assert "@" not in header


@pytest.mark.parametrize("name", PAGES)
def test_lint(pages: Path, name: str) -> None:
    """The linter of mandoc has no warnings."""
    words: list[str | Path] = [program("mandoc"), "-T", "lint", "-W", "warning", pages / name]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
