"""`postfix-mta-sts man`: show a man page, or install both, also where no package has done it."""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from postfix_mta_sts.cli.man.pages import PAGES, file_name, source
from postfix_mta_sts.cli.man.plain_text import WIDTH, plain_text
from postfix_mta_sts.cli.output import output_to_reader
from postfix_mta_sts.cli.parser import FAILURE, OK, CommandError, Commands

_VIEWERS: Final = (("man", "-l"), ("mandoc", "-a"))
"""Programs that show a page from a file, page by page."""


def add(commands: Commands) -> None:
    """Add the command."""
    command = commands.add("man", _man, "show a man page, or install them")
    first, second = PAGES
    meaning = f"{first} (the commands; the default) or {second} (the configuration file)"
    command.add_argument(
        "page", metavar="PAGE", nargs="?", choices=(first, second), default=first, help=meaning
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument("--roff", action="store_true", help="print the source of the page")
    meaning = "write both pages below a folder of man pages, such as /usr/local/share/man"
    form.add_argument("--install", metavar="FOLDER", type=Path, help=meaning)


def _man(args: argparse.Namespace) -> int:
    if args.install:
        return _install(args.install)
    page = source(args.page)
    is_terminal = sys.stdout.isatty()
    if args.roff or not (is_terminal and _is_viewed(args.page, page)):
        width = min(shutil.get_terminal_size().columns, WIDTH) if is_terminal else WIDTH
        with output_to_reader(FAILURE):
            print(page if args.roff else plain_text(page, width), end="")
    return OK


def _install(folder: Path) -> int:
    """Write both pages, and print where."""
    for name in PAGES:
        path = folder / file_name(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source(name), "utf-8")
        except OSError as error:
            raise CommandError(f"{error.filename or path}: {error.strerror}") from error
        print(path)
    return OK


def _is_viewed(name: str, page: str) -> bool:
    """Show a page by a program of this machine; return whether one could."""
    with suppress(OSError), TemporaryDirectory() as folder:  # no folder can be written
        path = Path(folder) / Path(file_name(name)).name
        path.write_text(page, "utf-8")
        return any(
            _shows([found, *options, str(path)])
            for program, *options in _VIEWERS
            if (found := shutil.which(program))
        )
    return False


def _shows(words: Sequence[str]) -> bool:
    try:
        return subprocess.run(words, check=False).returncode == 0  # noqa: S603 (a program of the administrator's $PATH)
    except OSError:  # it is no program
        return False
