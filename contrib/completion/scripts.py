"""Write shell completion: `python contrib/completion/scripts.py FOLDER`, or `make completion`.

`shtab` generates the scripts for bash, zsh and fish from the parser of the command line. This
script adds which arguments are files.
"""  # noqa: INP001 (a script, not part of a package)

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import shtab

from postfix_mta_sts.cli.main import build_parser

NAMES: Final = {
    "bash": "postfix-mta-sts",
    "zsh": "_postfix-mta-sts",
    "fish": "postfix-mta-sts.fish",
}
"""The file name that each shell expects in its completion folder."""


def main(folder: Path) -> None:
    """Write all scripts."""
    folder.mkdir(parents=True, exist_ok=True)
    for shell, name in NAMES.items():
        parser = build_parser()
        for action in _actions(parser):
            if "FILE" in str(action.metavar):
                action.complete = shtab.FILE  # type: ignore[attr-defined] # read by shtab
        (folder / name).write_text(shtab.complete(parser, shell), "utf-8")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of all its commands."""
    for action in parser._actions:  # noqa: SLF001 (argparse has no public name for it)
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 (the same)
            for command in action.choices.values():
                yield from _actions(command)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
