"""`man`: shown by a program if standard output is a terminal, else as text, and installed."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from postfix_mta_sts.cli.man.pages import source
from postfix_mta_sts.cli.man.plain_text import plain_text
from tests.support.commands import Commands

SHOWS = '#!/bin/sh\necho "$(basename "$0") $1"; head -n 1 "$2"\n'
FAILS = '#!/bin/sh\necho "no such option" >&2; exit 1\n'


@pytest.fixture
def on_terminal(tmp_path: Path) -> Callable[..., str]:
    """Run `man` on a terminal of 80 columns, with these programs; return what it shows."""

    def run(*arguments: str, **programs: str) -> str:
        for name, text in programs.items():
            path = tmp_path / name
            path.write_text(text)
            path.chmod(0o755)
        for tool in ("basename", "head"):
            (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
        words = [sys.executable, "-m", "postfix_mta_sts", "man", *arguments]
        ours, theirs = pty.openpty()
        environ = os.environ | {"PATH": str(tmp_path), "COLUMNS": "80"}
        with subprocess.Popen(words, stdout=theirs, stderr=subprocess.DEVNULL, env=environ) as man:
            os.close(theirs)
            shown = _read(ours)
        assert man.returncode == 0
        return shown

    return run


def _read(terminal: int) -> str:
    """Return what is written to a terminal, until nothing has it open."""
    parts = []
    try:
        while part := os.read(terminal, 65536):
            parts.append(part)
    except OSError:  # Linux: EIO when the other side is closed
        pass
    finally:
        os.close(terminal)
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_pipe(commands: Commands) -> None:
    """Without a terminal, the page of the commands is printed as text."""
    done = commands.run("man")
    assert (done.code, done.out) == (0, plain_text(source("postfix-mta-sts")))


def test_page(commands: Commands) -> None:
    """A page is chosen by its name."""
    done = commands.run("man", "postfix-mta-sts.yml")
    assert (done.code, done.out) == (0, plain_text(source("postfix-mta-sts.yml")))


def test_roff(commands: Commands) -> None:
    """The source is printed as it is."""
    done = commands.run("man", "postfix-mta-sts.yml", "--roff")
    assert (done.code, done.out) == (0, source("postfix-mta-sts.yml"))


def test_viewer(on_terminal: Callable[..., str]) -> None:
    """On a terminal man(1) shows the page from a file."""
    shown = on_terminal(man=SHOWS, mandoc=SHOWS)
    assert shown.startswith("man -l\n.TH POSTFIX\\-MTA\\-STS 1 ")
    assert len(shown.splitlines()) == 2


@pytest.mark.parametrize("other", [FAILS, "no program"])
def test_other_viewer(on_terminal: Callable[..., str], other: str) -> None:
    """If man(1) cannot show a file, as that of busybox, or there is none, mandoc does."""
    assert on_terminal(man=other, mandoc=SHOWS).startswith("mandoc -a\n.TH ")


@pytest.mark.parametrize(
    "programs",
    [{}, {"man": FAILS}, {"man": "no program"}],
    ids=["none", "one that fails", "one that cannot be started"],
)
def test_no_viewer(on_terminal: Callable[..., str], programs: dict[str, str]) -> None:
    """Without such a program, the text is printed."""
    assert on_terminal(**programs) == plain_text(source("postfix-mta-sts"))


def test_install(commands: Commands, tmp_path: Path) -> None:
    """Both pages are written below the folder, which is made, and named; a second time as well."""
    folder = tmp_path / "share/man"
    paths = [folder / "man1/postfix-mta-sts.1", folder / "man5/postfix-mta-sts.yml.5"]
    for _ in range(2):
        done = commands.run("man", "--install", folder)
        assert (done.code, done.lines) == (0, [str(path) for path in paths])
    texts = [path.read_text("utf-8") for path in paths]
    assert texts == [source("postfix-mta-sts"), source("postfix-mta-sts.yml")]


def test_install_fails(commands: Commands, tmp_path: Path) -> None:
    """A folder that cannot be made is an error that names it."""
    (tmp_path / "file").touch()
    done = commands.run("man", "--install", tmp_path / "file")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"postfix-mta-sts: {tmp_path}/file/man1: Not a directory\n"


@pytest.mark.parametrize("words", [("nonsense",), ("--roff", "--install", "/nonexistent")])
def test_wrong_arguments(commands: Commands, words: tuple[str, ...]) -> None:
    """Another page, or two of the options, is a wrong argument."""
    assert commands.run("man", *words).code == 2
