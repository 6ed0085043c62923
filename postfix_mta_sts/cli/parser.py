"""The commands, one a file: which arguments it takes, and what it does with them.

Border: a command's module has `add`, which `cli` calls with the `Commands` to join; what it does
is done below. It returns an exit code, prints to standard output, and raises what is told to the
person in one line.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from postfix_mta_sts.config import settings as config
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.errors import UserError

if TYPE_CHECKING:
    _Parsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 (argparse has no other name for it)

DEFAULT_CONFIG: Final = Path("/etc/postfix-mta-sts.yml")

OK, NO_POLICY, FAILURE = 0, 1, 2
"""Exit codes; argparse leaves with 2 on a typing error too."""


class CommandError(UserError):
    """A command cannot go on. `str()` is one line: what was wrong, where, and what to do."""


class Commands:
    """The commands of one program, or of one command that has commands of its own."""

    def __init__(self, parsers: "_Parsers") -> None:
        self._parsers = parsers

    def add(
        self, name: str, run: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        """One more command; its arguments are for the caller to add."""
        command = self._parsers.add_parser(name, help=text, allow_abbrev=False)
        command.set_defaults(command=run)
        return command

    def group(self, name: str, text: str) -> "Commands":
        """Commands under one more word."""
        parser = self._parsers.add_parser(name, help=text, allow_abbrev=False)
        return within(parser)


def within(parser: argparse.ArgumentParser) -> Commands:
    """The commands of which this parser demands one."""
    return Commands(parser.add_subparsers(title="commands", metavar="COMMAND", required=True))


def add_config(command: argparse.ArgumentParser) -> None:
    """Let a command take `--config`; see `settings`."""
    text = f"the configuration (default: {DEFAULT_CONFIG} if it exists, else built-in defaults)"
    command.add_argument("--config", metavar="FILE", type=Path, help=text)


def settings(args: argparse.Namespace) -> Settings:
    """The settings that the arguments and the environment name. Raises `ConfigError`."""
    path: Path | None = args.config
    if path is None and DEFAULT_CONFIG.exists():
        path = DEFAULT_CONFIG
    return config.load(path, os.environ)
