"""`postfix-mta-sts query DOMAIN`: what happens to mail for a domain, and why."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Final

from postfix_mta_sts.cli.live import Live, live, run_with
from postfix_mta_sts.cli.locate import control_client
from postfix_mta_sts.cli.parser import (
    INTERRUPTED,
    OK,
    CommandError,
    Commands,
    add_config,
    load_settings,
)
from postfix_mta_sts.config.field_types import seconds
from postfix_mta_sts.config.settings import ConfigError, Settings

FLOWS: Final = OK
CANNOT_TELL: Final = 3
USAGE: Final = 64
"""Exit codes; 64 is EX_USAGE (sysexits.h). The others are in `Verdict.exit_code`."""
_SECONDS: Final = 10.0
_WATCH: Final = 60.0
_LONGEST: Final = 3600.0
"""Seconds: for look-ups and probes, between two of `--watch`, and the most that is allowed."""
_TEXT: Final = "say what happens to mail for a domain, because of what, and what to do"
_OPTIONS: Final = (
    ("--smtp", "also talk to the MX hosts, as Postfix does before it sends a message"),
    ("--through-postfix", "also have the running Postfix probe the domain (sendmail -bv)"),
    ("--letter", "print a text for the postmaster of the other side, and nothing else"),
    ("--json", "print one JSON object; --schema has its schema"),
    ("--schema", "print the JSON schema of --json, and do nothing else"),
)


def add(commands: Commands) -> None:
    """Add the command."""
    command = commands.add("query", _query, _TEXT, USAGE)
    text = "a domain, or a next-hop as Postfix writes it, such as [mx.example.com]:587"
    command.add_argument("domain", metavar="DOMAIN", nargs="?", help=text)
    for option, meaning in _OPTIONS:
        command.add_argument(option, action="store_true", help=meaning)
    text = f"seconds for the look-ups, and again for the MX hosts (default: {_SECONDS:g})"
    command.add_argument("--timeout", metavar="TIME", type=_time, default=_SECONDS, help=text)
    text = f"ask again each TIME until mail flows (default: {_WATCH:g}s)"
    command.add_argument(
        "--watch", metavar="TIME", nargs="?", type=_time, const=_WATCH, help=text
    )
    add_config(command)


def _time(text: str) -> float:
    try:
        given = seconds(text)
    except ValueError:
        raise argparse.ArgumentTypeError("not a time such as 10s or 2m") from None
    if not 1 <= given <= _LONGEST:
        raise argparse.ArgumentTypeError(f"not between 1s and {_LONGEST:g}s")
    return given


def _query(args: argparse.Namespace) -> int:
    if args.schema:
        return _print_schema()
    if not args.domain:
        raise CommandError("query: name a DOMAIN", USAGE)
    try:
        settings = load_settings(args)
    except ConfigError as error:
        raise CommandError(str(error), CANNOT_TELL) from error
    return _watch(args, settings) if args.watch else _once(args, settings)


def _print_schema() -> int:
    from postfix_mta_sts.admin.diagnosis.schema import schema  # noqa: PLC0415 (as in `_once`)

    print(json.dumps(schema(), indent=2))
    return OK


def _once(args: argparse.Namespace, settings: Settings) -> int:
    # Imported here: `--help` of all commands need not load the libraries of the probe.
    from postfix_mta_sts.cli import query_run  # noqa: PLC0415

    return query_run.once(args, settings)


def _watch(args: argparse.Namespace, settings: Settings) -> int:
    from postfix_mta_sts.cli import query_run  # noqa: PLC0415

    return query_run.watch(args, settings)
