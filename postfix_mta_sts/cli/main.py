"""The command line. Border: words in, an exit code out; what a command does is its own file's."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from postfix_mta_sts import __version__
from postfix_mta_sts.cli import parser as commands
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.errors import InvalidDomainError

_MODULES: Final = {
    "serve": "serve",
    "query": "query",
    "status": "status",
    "policy": "policy",
    "check-config": "check_config",
    "healthcheck": "healthcheck",
    "import": "import_cache",
    "seed": "seed",
}
"""The commands, in the order in which they are shown, and the module that has each."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; the process's exit code."""
    words = sys.argv[1:] if argv is None else argv
    args = parser(*words[:1]).parse_args(words)
    try:
        command: int = args.command(args)
    except (UserError, InvalidDomainError) as error:
        print(f"postfix-mta-sts: {error}", file=sys.stderr)
        return commands.FAILURE
    except BrokenPipeError:  # the reader, `head` or a pager, has seen enough
        sys.stdout = None  # nothing is left to flush at exit
        return commands.FAILURE
    return command


def parser(word: str = "") -> argparse.ArgumentParser:
    """All commands and their arguments; of a `word` that is a command, that one alone."""
    top = argparse.ArgumentParser(
        prog="postfix-mta-sts", description="MTA-STS (RFC 8461) for Postfix.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"postfix-mta-sts {__version__}")
    shown = commands.within(top)
    # Only what is run is imported: a health check, each 30 seconds, does without the daemon's
    # libraries, and the daemon, which Postfix waits for, without those of all others.
    for name in [word] if word in _MODULES else _MODULES:
        import_module(f"postfix_mta_sts.cli.{_MODULES[name]}").add(shown)
    shown.add("version", _version, "print the version")
    return top


def _version(_: argparse.Namespace) -> int:
    print(f"postfix-mta-sts {__version__}")
    return commands.OK
