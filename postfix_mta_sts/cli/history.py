"""`postfix-mta-sts policy history`: the policies of a domain, and what became weaker."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from postfix_mta_sts.admin.times import NO_VALUE, moment
from postfix_mta_sts.cli.domain_argument import domain_of
from postfix_mta_sts.cli.locate import control_client
from postfix_mta_sts.cli.parser import OK, Commands, add_config
from postfix_mta_sts.cli.time_argument import seconds_of

_WEAKER: Final = "weaker"
"""The field `event` of a weakening; see `admin.history`."""
_INCOMPLETE: Final = "incomplete"
"""That of an entry about what is missing."""


def add(policies: Commands) -> None:
    """Add the command to `policy`."""
    text = "list what became weaker for all domains, or the policies of one domain as well"
    command = policies.add("history", _history, text)
    text = "the domain; without one, only what became weaker"
    command.add_argument("domain", metavar="DOMAIN", nargs="?", help=text)
    text = "only what became weaker, without the policies that were accepted"
    command.add_argument("--weaker", action="store_true", help=text)
    text = "only what happened within this time, such as 12h or 7d"
    command.add_argument("--since", metavar="TIME", type=seconds_of, help=text)
    command.add_argument("--json", action="store_true", help="print one JSON object per line")
    add_config(command)


def _history(args: argparse.Namespace) -> int:
    query = {} if args.since is None else {"within": str(args.since)}
    if args.domain is not None:
        query["domain"] = domain_of(args.domain)
    entries = control_client(args).lines("history", **query)
    if args.weaker:  # of which other relays have nothing
        entries = (entry for entry in entries if entry["event"] == _WEAKER)
    entries = _complete(entries)
    if args.json:
        for entry in entries:
            print(json.dumps(entry))
    else:
        is_about_all = args.weaker or args.domain is None
        nothing = "nothing became weaker" if is_about_all else "no policy was accepted"
        _print_table(entries, nothing)
    return OK


def _complete(entries: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield what happened; say on standard error what is missing."""
    for entry in entries:
        if entry["event"] == _INCOMPLETE:
            lacking = f"policies that only other relays have seen are missing: {entry['reason']}"
            print(f"postfix-mta-sts: warning: {lacking}", file=sys.stderr)
        else:
            yield entry


def _print_table(entries: Iterable[Mapping[str, Any]], nothing: str) -> None:
    from postfix_mta_sts.cli import terminal  # noqa: PLC0415 (rich: see there)

    columns = ("domain", "time", "event", "id", "change")
    table = terminal.Columns(*columns, dispensable=("id",), below="change")
    if not table.print_rows(map(_row, entries)):
        print(nothing)


def _row(entry: Mapping[str, Any]) -> tuple[object, ...]:
    return (entry["domain"], moment(entry["at"]), *_what(entry))


def _what(entry: Mapping[str, Any]) -> Iterator[object]:
    """Yield the event, the id, and what was before and after, or the policy."""
    if entry["event"] == _WEAKER:
        yield f"weaker: {entry['kind']}"
        yield from (entry["id"] or NO_VALUE, f"{entry['before']} -> {entry['after']}")
    else:
        yield from (entry["event"], entry["id"])
        yield " ".join([entry["mode"], *entry["mx"]])
