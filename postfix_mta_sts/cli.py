"""The command line. Border: words in, an exit code out; what a command does is its own file's."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from postfix_mta_sts import __version__
from postfix_mta_sts.commands import (
    FAILURE,
    OK,
    CommandError,
    check_config,
    healthcheck,
    importing,
    policy,
    query,
    seeding,
    serve,
    status,
    within,
)
from postfix_mta_sts.config import ConfigError
from postfix_mta_sts.listening import ListenError
from postfix_mta_sts.mtasts.errors import InvalidDomainError
from postfix_mta_sts.remote import RemoteError

_TOLD: Final = (CommandError, ConfigError, ListenError, InvalidDomainError, RemoteError)
"""Errors that say in one line all that there is to say."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; the process's exit code."""
    args = parser().parse_args(argv)
    try:
        command: int = args.command(args)
    except _TOLD as error:
        print(f"postfix-mta-sts: {error}", file=sys.stderr)
        return FAILURE
    except BrokenPipeError:  # the reader, `head` or a pager, has seen enough
        sys.stdout = None  # nothing is left to flush at exit
        return FAILURE
    return command


def parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    top = argparse.ArgumentParser(
        prog="postfix-mta-sts", description="MTA-STS (RFC 8461) for Postfix.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"postfix-mta-sts {__version__}")
    commands = within(top)
    for module in (serve, query, status, policy, check_config, healthcheck, importing, seeding):
        module.add(commands)
    commands.add("version", _version, "print the version")
    return top


def _version(_: argparse.Namespace) -> int:
    print(f"postfix-mta-sts {__version__}")
    return OK
