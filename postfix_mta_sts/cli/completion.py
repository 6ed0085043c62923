"""`postfix-mta-sts completion SHELL`: the script with which a shell completes our commands.

`shtab` writes it from the parser of the command line. This file adds which arguments are files.
"""

import argparse
from typing import Final

import shtab

from postfix_mta_sts.cli.command_tree import all_arguments
from postfix_mta_sts.cli.main import build_parser
from postfix_mta_sts.cli.output import output_to_reader
from postfix_mta_sts.cli.parser import FAILURE, OK, Commands

SHELLS: Final = ("bash", "zsh", "fish")


def add(commands: Commands) -> None:
    """Add the command."""
    text = "print the script with which a shell completes commands and options"
    command = commands.add("completion", _completion, text)
    meaning = f"{', '.join(SHELLS[:-1])} or {SHELLS[-1]}"
    command.add_argument("shell", metavar="SHELL", choices=SHELLS, help=meaning)


def _completion(args: argparse.Namespace) -> int:
    with output_to_reader(FAILURE):
        print(script(args.shell))
    return OK


def script(shell: str) -> str:
    """Return the script for one of `SHELLS`."""
    parser = build_parser()
    for action in all_arguments(parser):
        if "FILE" in str(action.metavar):
            action.complete = shtab.FILE  # type: ignore[attr-defined] # read by shtab
    return shtab.complete(parser, shell)
