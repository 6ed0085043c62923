"""The man pages: they contain every command and every key, and mandoc finds no errors."""

import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import fields

from postfix_mta_sts import __version__
from postfix_mta_sts.cli.command_tree import commands_of
from postfix_mta_sts.cli.main import build_parser
from postfix_mta_sts.cli.man.pages import source
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.errors import UserError
from tests.support.programs import program

EXAMPLE = Path(__file__).parents[3] / "config.example.yml"
COMMANDS = "man1/postfix-mta-sts.1"
CONFIGURATION = "man5/postfix-mta-sts.yml.5"
PAGES = (COMMANDS, CONFIGURATION)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the man pages with a fixed date; return their folder."""
    folder = tmp_path_factory.mktemp("man")
    words: list[str | Path] = [sys.executable, "-m", "postfix_mta_sts", "man", "--install", folder]
    environ = os.environ | {"SOURCE_DATE_EPOCH": "1790000000"}
    done = subprocess.run(words, check=True, env=environ, stdout=subprocess.PIPE, text=True)
    assert done.stdout.splitlines() == [f"{folder}/{name}" for name in PAGES]
    return folder


def plain(page: Path) -> str:
    """Return a page without roff escapes."""
    text = re.sub(r"\\f[BIR]|\\&", "", page.read_text("utf-8"))
    return text.replace(r"\-", "-").replace(r"\(aq", "'")


def keys() -> Iterator[tuple[str, str]]:
    """Yield section and key of every key in a section."""
    for section in fields(Settings):
        if isinstance(section.type, type) and issubclass(section.type, Struct):
            for key in fields(section.type):
                yield section.name, key.name


@pytest.mark.parametrize(
    "command",
    [command for command, _ in commands_of(build_parser())],
    ids=lambda command: command.prog,
)
def test_command(pages: Path, command: ArgumentParser) -> None:
    """Each command has a section in (1), with all its arguments."""
    text = plain(pages / COMMANDS)
    part = text.partition(f".SS {command.prog.partition(' ')[2]}\n")[2].partition("\n.S")[0]
    assert part.startswith(command.prog)
    for action in command._actions:
        for name in action.option_strings or [str(action.metavar)]:
            assert name in part or name in ("-h", "--help")


@pytest.mark.parametrize(("section", "key"), list(keys()))
def test_key(pages: Path, section: str, key: str) -> None:
    """Each key is in (5), with its default and the comment of the example."""
    text = plain(pages / CONFIGURATION)
    assert re.search(rf"^{section}\.{key} \(default: .+\)\n.+", text, re.MULTILINE)


def test_examples(pages: Path) -> None:
    """Examples in comments are in (5), unchanged."""
    text = plain(pages / CONFIGURATION)
    lines = EXAMPLE.read_text("utf-8").splitlines()
    examples = [line for line in lines if re.match(r"  (# )?- ", line)]
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


@pytest.mark.parametrize("epoch", ["today", "9" * 30])
def test_no_date(epoch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A $SOURCE_DATE_EPOCH that is no time is named."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(UserError, match="SOURCE_DATE_EPOCH"):
        source("postfix-mta-sts")
