"""The command line: run the command that the arguments name, and return its exit code."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from postfix_mta_sts import __version__
from postfix_mta_sts.cli.output import discard_output, open_closed_streams
from postfix_mta_sts.cli.parser import FAILURE, INTERRUPTED, OK, CommandError, add_commands
from postfix_mta_sts.errors import UserError

MODULES: Final = {
    "serve": "serve",
    "query": "query",
    "doctor": "doctor",
    "status": "status",
    "policy": "policy",
    "exception": "exception",
    "trial": "trial.commands",
    "fleet": "fleet.commands",
    "check-config": "check_config",
    "healthcheck": "healthcheck",
    "import": "import_cache",
    "seed": "seed",
    "man": "man.command",
    "completion": "completion",
}
"""The module of each command, in the order of the help text."""
_DESCRIPTION: Final = (
    "MTA-STS (RFC 8461) for Postfix: the daemon that Postfix asks (serve), and commands that show "
    "what it knows. COMMAND --help has the arguments of a command."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code of the process."""
    open_closed_streams()
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()  # here, where a reader that has ended can still be noticed
    except UserError as error:
        print(f"postfix-mta-sts: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, CommandError) else FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output, such as `head` or a pager, has ended
        discard_output()
        return FAILURE


def _run(words: Sequence[str]) -> int:
    args, unknown = build_parser(*words[:1]).parse_known_args(words)
    if unknown:
        args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    code: int = args.command(args)
    return code


def build_parser(word: str = "") -> argparse.ArgumentParser:
    """Build the parser of all commands, or of the command `word` alone if there is one."""
    top = argparse.ArgumentParser(
        prog="postfix-mta-sts", description=_DESCRIPTION, allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"postfix-mta-sts {__version__}")
    commands = add_commands(top)
    # Import only the command that runs: a health check, every 30 seconds, does not need the
    # libraries of the daemon, and the daemon, which Postfix waits for, not those of the others.
    for name in [word] if word in MODULES else MODULES:
        import_module(f"postfix_mta_sts.cli.{MODULES[name]}").add(commands)
    commands.add("version", _version, "print the version")
    return top


def _version(_: argparse.Namespace) -> int:
    print(f"postfix-mta-sts {__version__}")
    return OK
