"""`postfix-mta-sts check-config FILE`: check a configuration file."""

import argparse
import os
from pathlib import Path

from postfix_mta_sts.cli.parser import OK, Commands
from postfix_mta_sts.config import settings


def add(commands: Commands) -> None:
    """Add the command."""
    command = commands.add(
        "check-config", _check_config, "check a configuration file, and print the first error"
    )
    command.add_argument("file", metavar="FILE", type=Path, help="the file to check")


def _check_config(args: argparse.Namespace) -> int:
    settings.load(args.file, os.environ)
    print(f"{args.file}: valid")
    return OK
