"""Shell completion: `python contrib/completion/scripts.py FOLDER` writes it for three shells.

Border: the commands and their arguments are those of the command line's own parser, the scripts
are `shtab`'s; added here is only which arguments are files. See `make completion`.
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
"""What each shell looks for in its folder of completions."""


def main(folder: Path) -> None:
    """Write all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for shell, name in NAMES.items():
        parser = build_parser()
        for action in _actions(parser):
            if "FILE" in str(action.metavar):
                action.complete = shtab.FILE  # type: ignore[attr-defined] # where shtab looks for it
        (folder / name).write_text(shtab.complete(parser, shell), "utf-8")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser, and of all commands within it."""
    for action in parser._actions:  # noqa: SLF001 (argparse shows its parts in no other way)
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 (the same)
            for command in action.choices.values():
                yield from _actions(command)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
