"""`postfix-mta-sts policy …`: what the running daemon knows of domains, and what it is to do."""

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from postfix_mta_sts.cli.locate import control_client
from postfix_mta_sts.cli.parser import FAILURE, NO_POLICY, OK, CommandError, Commands, add_config
from postfix_mta_sts.cli.times import NEVER, ago, ahead, dated, moment, span
from postfix_mta_sts.config.field_types import seconds
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.policy import Mode

_ROWS_AT_ONCE: Final = 500
_ATTEMPT_MOST: Final = 900.0
"""Seconds that an attempt may take: more than the settings let DNS and HTTPS take together."""
_LINES_MOST: Final = 200
"""Lines of a policy that are shown: it may be 64 KiB of line ends."""
_EXITS: Final = {"fetched": OK, "no-policy": NO_POLICY}
_OUTCOMES: Final = {
    "fetched": "fetched now",
    "no-policy": "the domain has no policy",
    "failed": "not fetched",
    "busy": "not tried: too many attempts are under way",
}


def add(commands: Commands) -> None:
    """Add the commands."""
    policies = commands.group("policy", "what the running daemon knows of domains")
    _add_list(policies)
    show = policies.add("show", _show, "all that is known of a domain")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    refresh = policies.add("refresh", _refresh, "fetch a domain's policy now, known or not")
    forget = policies.add("forget", _forget, "forget a domain, and its history")
    for command in (show, refresh, forget):
        command.add_argument("domain", metavar="DOMAIN")
        add_config(command)


def _add_list(policies: Commands) -> None:
    command = policies.add("list", _list, "the policies that are known, by domain")
    command.add_argument("--mode", choices=[str(m) for m in Mode], help="only those in this mode")
    text = "only what fails: domains without a policy for that reason, policies not renewed"
    command.add_argument("--failing", action="store_true", help=text)
    text = "only those that expire within this time: 12h, 2d"
    command.add_argument("--expiring", metavar="TIME", type=_expiring, help=text)
    command.add_argument("--json", action="store_true", help="print a JSON object a line")
    add_config(command)


def _expiring(text: str) -> int:
    try:
        return math.ceil(seconds(text))
    except ValueError:
        raise argparse.ArgumentTypeError("not a number of seconds, or 30m, 12h, 2d") from None


def _list(args: argparse.Namespace) -> int:
    wanted = {"mode": args.mode, "expiring": args.expiring, "failing": args.failing and "yes"}
    query = {name: str(value) for name, value in wanted.items() if value}
    entries = control_client(args).lines("policies", **query)
    if args.json:
        for entry in entries:
            print(json.dumps(entry))
    else:
        _print_list(entries)
    return OK


def _print_list(entries: Iterator[Mapping[str, Any]]) -> None:
    from postfix_mta_sts.cli import terminal  # noqa: PLC0415 (rich: see there)

    table = terminal.Columns(
        "domain", "mode", "id", "fetched", "expires", "asked", "times", "failure"
    )
    while some := list(islice(entries, _ROWS_AT_ONCE)):
        now = time.time()
        print(table.block(_row(entry, now) for entry in some))


def _row(entry: Mapping[str, Any], now: float) -> tuple[object, ...]:
    failure = entry["failure"]["code"] if entry["failure"] else None
    return (
        entry["domain"],
        entry["mode"] or NEVER,
        entry["id"] or NEVER,
        ago(entry["fetched_at"], now) if entry["mode"] else NEVER,
        ahead(entry["expires_at"], now),
        ago(entry["asked_at"], now),
        entry["asked_count"],
        failure or ("overdue" if entry["overdue"] else None),
    )


def _show(args: argparse.Namespace) -> int:
    known = control_client(args).ask("GET", "policies", parse_domain(args.domain))
    if args.json:
        print(json.dumps(known, indent=2))
    else:
        _print_known(known)
    return OK if known["known"] else NO_POLICY


def _refresh(args: argparse.Namespace) -> int:
    domain = parse_domain(args.domain)
    known = control_client(args, _ATTEMPT_MOST).ask("POST", "policies", domain, "refresh")
    _print_known(known)
    print(f"{_OUTCOMES[known['outcome']]}{_in_force(known)}")
    return _EXITS.get(known["outcome"], FAILURE)


def _forget(args: argparse.Namespace) -> int:
    domain = parse_domain(args.domain)
    said = control_client(args).ask("POST", "policies", domain, "forget")
    if said["kept_on_file"]:
        raise CommandError(f"{domain}: not forgotten on file, for the store cannot be written now")
    print(f"{domain}: {'forgotten' if said['known'] else 'nothing was known'}")
    return OK if said["known"] else NO_POLICY


def _print_known(known: Mapping[str, Any]) -> None:
    from postfix_mta_sts.cli import terminal  # noqa: PLC0415 (rich: see there)

    print(known["domain"])
    if not known["known"]:
        print("nothing is known")
    else:
        print(terminal.pairs(_facts(known, time.time())))
    if known["history"]:
        history = terminal.Columns("accepted", "last fetched", "mode", "id", "mx")
        print()
        print(history.block(map(_accepted, known["history"])))


def _facts(known: Mapping[str, Any], now: float) -> Iterator[tuple[str, object]]:
    policy, expires = known["policy"], known["expires_at"]
    if policy:
        yield "mode", policy["mode"] if known["in_force"] else f"{policy['mode']}, expired"
        yield "id", policy["id"]
        for pattern in policy["mx"]:
            yield "mx", pattern
        yield "fetched", dated(known["fetched_at"], ago(known["fetched_at"], now))
        yield "expires", dated(expires, ahead(expires, now))
        yield "next fetch", dated(known["refetch_at"], ahead(known["refetch_at"], now))
        yield "asked for", f"{known['asked_count']} times, last {ago(known['asked_at'], now)}"
    else:
        yield "policy", "none"
        yield "forgotten", dated(expires, ahead(expires, now))
    yield "checked", dated(known["checked_at"], ago(known["checked_at"], now))
    yield "next check", dated(known["recheck_at"], ahead(known["recheck_at"], now))
    yield from _failures(known, now)
    if known["dane"]:
        yield from _dane(known["dane"], now)
    for line in policy["text"].splitlines()[:_LINES_MOST] if policy else ():
        yield "text", line


def _failures(known: Mapping[str, Any], now: float) -> Iterator[tuple[str, object]]:
    if failure := known["failure"]:
        what = f"{failure['code']} ({failure['stage']}): {failure['reason']}"
        yield "failure", what
        yield "", f"{failure['count']} in a row; failing for {span(now - failure['since'])}"
    for backoff in known["backoffs"]:
        until = ahead(backoff["until"], now)
        yield "waits", f"id {backoff['id']} is tried again {until}; failed {backoff['count']} times"


def _dane(verdict: Mapping[str, Any], now: float) -> Iterator[tuple[str, object]]:
    yield "DANE", f"{verdict['kind']}: {verdict['reason']}"
    for host in verdict["hosts"]:
        yield "MX host", f"{host['name']} {host['state']}: {host['step']}"
    until = dated(verdict["until"], ahead(verdict["until"], now))
    yield "", f"found {ago(verdict['found_at'], now)}, believed until {until}"
    if verdict["failure"]:
        yield "", f"asked again in vain: {verdict['failure']}"


def _accepted(seen: Mapping[str, Any]) -> tuple[object, ...]:
    times = moment(seen["seen_from"]), moment(seen["seen_to"])
    return (*times, seen["mode"], seen["id"], " ".join(seen["mx"]))


def _in_force(known: Mapping[str, Any]) -> str:
    kept = known["outcome"] == "failed" and known.get("in_force")
    return "; the policy stays in force" if kept else ""
