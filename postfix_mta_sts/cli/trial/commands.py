"""`postfix-mta-sts trial …`: the arguments of the commands, which are in modules of their own."""

import argparse
import re
from importlib import import_module
from typing import Final

from postfix_mta_sts.cli.asked import LONGEST, asked_since
from postfix_mta_sts.cli.parser import Commands, add_config
from postfix_mta_sts.cli.trial.report import report
from postfix_mta_sts.cli.trial.tally import USAGE

_AT_ONCE: Final = 10
_AT_ONCE_LIMIT: Final = 100
_JSON: Final = "print one JSON object with each domain, and the sums"


def add(commands: Commands) -> None:
    """Add the commands."""
    trials = commands.group(
        "trial", "find out which mail would be held, before policies are enforced"
    )
    _add_report(trials)
    _add_scan(trials)


def _add_report(trials: Commands) -> None:
    text = "say what switching on would do to mail, by what the running daemon has checked"
    command = trials.add("report", report, text, USAGE)
    text = "only domains that were asked for within this time; 7d at most (default: 7d)"
    command.add_argument("--since", metavar="TIME", type=asked_since, default=LONGEST, help=text)
    command.add_argument("--json", action="store_true", help=_JSON)
    add_config(command)


def _add_scan(trials: Commands) -> None:
    text = "say the same for the domains of a list or of a mail log, without a daemon"
    command = trials.add("scan", _scan, text, USAGE)
    text = "a list: one domain or mail address per line, # starts a comment; - reads standard input"
    command.add_argument("file", metavar="FILE", nargs="?", help=text)
    text = (
        "take the recipients' domains out of a log of Postfix, also one that gzip has packed; "
        "- reads standard input; may be given several times"
    )
    command.add_argument("--maillog", metavar="FILE", action="append", default=[], help=text)
    text = "write each result to this file, and look only at domains that it has no result for"
    command.add_argument("--results", metavar="FILE", help=text)
    text = f"look at up to N domains at once, {_AT_ONCE_LIMIT} at most (default: {_AT_ONCE})"
    command.add_argument("--at-once", metavar="N", type=_number, default=_AT_ONCE, help=text)
    command.add_argument("--json", action="store_true", help=_JSON)
    add_config(command)


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= _AT_ONCE_LIMIT:
        raise argparse.ArgumentTypeError(f"not a number from 1 to {_AT_ONCE_LIMIT}")
    return int(text)


def _scan(args: argparse.Namespace) -> int:
    # Here, because `report` needs no event loop and none of what talks to the network.
    code: int = import_module("postfix_mta_sts.cli.trial.scan").scan(args)
    return code
