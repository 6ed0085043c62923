"""What all commands share: exit codes, `--config`, and how a command adds its arguments.

The module of a command has a function `add(commands)`, which `main` calls. The command itself
prints to standard output and returns an exit code, or raises `UserError`.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from postfix_mta_sts.config.settings import Settings, load
from postfix_mta_sts.errors import UserError

DEFAULT_CONFIG: Final = Path("/etc/postfix-mta-sts.yml")

OK, NO_POLICY, FAILURE = 0, 1, 2
"""Exit codes; a wrong argument also has 2, if the command has no other code for it."""
INTERRUPTED: Final = 130
"""The exit code after Ctrl-C: 128 and the number of SIGINT, as a shell reports it."""


class CommandError(UserError):
    """A command cannot continue. `str()` is one line: what was wrong, where, and what to do."""

    def __init__(self, text: str, exit_code: int = FAILURE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class _Parser(argparse.ArgumentParser):
    """A parser whose exit code after a wrong argument can be set."""

    usage_code = FAILURE

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and end the process; `argparse.ArgumentParser.error`."""
        self.print_usage(sys.stderr)
        self.exit(self.usage_code, f"{self.prog}: error: {message}\n")


if TYPE_CHECKING:
    _Parsers: TypeAlias = argparse._SubParsersAction[_Parser]  # noqa: SLF001 (argparse has no other name for it)


class Commands:
    """The commands of the program, or of a command group such as `policy`."""

    def __init__(self, parsers: "_Parsers") -> None:
        self._parsers = parsers

    def add(
        self,
        name: str,
        run: Callable[[argparse.Namespace], int],
        text: str,
        usage_code: int = FAILURE,
    ) -> argparse.ArgumentParser:
        """Add a command; return its parser, to which the caller adds arguments.

        `usage_code` is its exit code after a wrong argument.
        """
        command = self._add_parser(name, text)
        command.usage_code = usage_code
        command.set_defaults(command=run, parser=command)
        return command

    def group(self, name: str, text: str) -> "Commands":
        """Add a command that has commands of its own."""
        return add_commands(self._add_parser(name, text))

    def _add_parser(self, name: str, text: str) -> _Parser:
        sentence = f"{text[0].upper()}{text[1:]}."
        return self._parsers.add_parser(name, help=text, description=sentence, allow_abbrev=False)


def add_commands(parser: argparse.ArgumentParser) -> Commands:
    """Let a parser require one of several commands, which the caller adds."""
    return Commands(
        parser.add_subparsers(
            title="commands", metavar="COMMAND", required=True, parser_class=_Parser
        )
    )


def add_config(command: argparse.ArgumentParser) -> None:
    """Add the argument `--config` to a command; see `load_settings`."""
    text = f"configuration file (default: {DEFAULT_CONFIG} if it exists, else built-in defaults)"
    command.add_argument("--config", metavar="FILE", type=Path, help=text)


def load_settings(args: argparse.Namespace) -> Settings:
    """Load the settings that the arguments and the environment name. Raises `ConfigError`."""
    return load(config_path(args), os.environ)


def config_path(args: argparse.Namespace) -> Path | None:
    """Return the configuration file of the argument, else the default one if that exists."""
    path: Path | None = args.config
    return DEFAULT_CONFIG if path is None and DEFAULT_CONFIG.exists() else path
