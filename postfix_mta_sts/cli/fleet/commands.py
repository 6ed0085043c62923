"""`postfix-mta-sts fleet …`: the arguments of the commands, which are in modules of their own.

The libraries that talk to a store are imported by the command that needs them.
"""

import argparse
from importlib import import_module

from postfix_mta_sts.cli.parser import Commands, add_config


def add(commands: Commands) -> None:
    """Add the commands."""
    fleet = commands.group("fleet", "look after the store that relays share; no daemon is needed")
    _add_check(fleet)
    _add_schema(fleet)
    _add_purge(fleet)


def _add_check(fleet: Commands) -> None:
    text = (
        "try everything that a relay does with the shared store, and say what to mend; "
        "exit code 0 all well, 1 something to mend, 2 the store cannot be used"
    )
    command = fleet.add("check", _check, text)
    command.add_argument("--json", action="store_true", help="print one JSON object")
    add_config(command)


def _add_schema(fleet: Commands) -> None:
    text = "print the SQL with which the owner of a PostgreSQL database makes or updates the tables"
    command = fleet.add("schema", _schema, text)
    text = "grant what a relay needs to this role of PostgreSQL"
    command.add_argument("--role", metavar="USER", help=text)
    add_config(command)


def _add_purge(fleet: Commands) -> None:
    text = (
        "remove what the shared store has of a domain, or the exceptions; "
        "each relay keeps its own copy"
    )
    command = fleet.add("purge", _purge, text)
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("domain", metavar="DOMAIN", nargs="?", help="the domain")
    text = (
        "the exceptions that relays share, whatever key has signed them; "
        "each relay gives those that it has to the store again"
    )
    what.add_argument("--exceptions", action="store_true", help=text)
    add_config(command)


def _check(args: argparse.Namespace) -> int:
    return _run("check", args)


def _schema(args: argparse.Namespace) -> int:
    return _run("schema", args)


def _purge(args: argparse.Namespace) -> int:
    return _run("purge", args)


def _run(name: str, args: argparse.Namespace) -> int:
    code: int = getattr(import_module(f"postfix_mta_sts.cli.fleet.{name}"), name)(args)
    return code
