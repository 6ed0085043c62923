"""The man pages: everything that can be said to the program stands in them, and they are sound."""

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
    """The folder in which they are, as `make man` makes them on a day in 2026."""
    folder = tmp_path_factory.mktemp("man")
    environ = {"SOURCE_DATE_EPOCH": "1790000000"}
    subprocess.run([sys.executable, SCRIPT, folder], check=True, env=environ)
    return folder


def plain(page: Path) -> str:
    """A page without the marks of roff."""
    text = re.sub(r"\\f[BIR]|\\&", "", page.read_text("utf-8"))
    return text.replace(r"\-", "-").replace(r"\(aq", "'")


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every command that can be run."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for group in groups:
        for command in group.choices.values():
            yield from commands(command)
    if not groups:
        yield parser


def keys() -> Iterator[tuple[str, str]]:
    """Sections of the configuration that have keys of their own, and these."""
    for section in fields(Settings):
        if isinstance(section.type, type) and issubclass(section.type, Struct):
            for key in fields(section.type):
                yield section.name, key.name


@pytest.mark.parametrize(
    "command", list(commands(build_parser())), ids=lambda command: command.prog
)
def test_command(pages: Path, command: argparse.ArgumentParser) -> None:
    """Each command has its part in (1), with all its arguments."""
    text = plain(pages / "postfix-mta-sts.1")
    part = text.partition(f".SS {command.prog.partition(' ')[2]}\n")[2].partition("\n.S")[0]
    assert part.startswith(command.prog)
    for action in command._actions:
        for name in action.option_strings or [str(action.metavar)]:
            assert name in part or name in ("-h", "--help")


@pytest.mark.parametrize(("section", "key"), list(keys()))
def test_key(pages: Path, section: str, key: str) -> None:
    """Each key stands in (5) with its default and what is said of it in the example."""
    text = plain(pages / "postfix-mta-sts.yml.5")
    assert re.search(rf"^{section}\.{key} \(default: .+\)\n.+", text, re.MULTILINE)


def test_only_shown(pages: Path) -> None:
    """What the example shows without a default of its own is shown as it stands."""
    text = plain(pages / "postfix-mta-sts.yml.5")
    example = (SCRIPT.parents[2] / "config.example.yml").read_text("utf-8")
    shown = [line for line in example.splitlines() if re.match(r"  (# )?- ", line)]
    assert shown
    assert all(line in text for line in shown)


@pytest.mark.parametrize("name", PAGES)
def test_head(pages: Path, name: str) -> None:
    """A page names the version that it is of, and the day that it was told."""
    head = plain(pages / name).splitlines()[0]
    assert head.endswith(f'"2026-09-21" "postfix-mta-sts {__version__}"')
    assert "@" not in head


@pytest.mark.parametrize("name", PAGES)
def test_sound(pages: Path, name: str) -> None:
    """A judge of man pages finds nothing to warn of."""
    words: list[str | Path] = [program("mandoc"), "-T", "lint", "-W", "warning", pages / name]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
