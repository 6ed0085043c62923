"""`postfix-mta-sts status --fleet`, and what other commands say about the shared store."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from postfix_mta_sts.admin.client import ControlClient, ControlError
from postfix_mta_sts.admin.times import ago, counted, span
from postfix_mta_sts.cli.locate import control_client, control_path
from postfix_mta_sts.cli.parser import FAILURE, OK, CommandError
from postfix_mta_sts.config.settings import Settings

WARNING_TIMEOUT: Final = 2.0
"""Seconds to wait for the daemon to say whether the shared store answers: mail does not need it."""
_COLUMNS: Final = ("relay", "seen", "policies", "lag", "exceptions", "version")
_DISPENSABLE: Final = ("exceptions", "version")
_NO_FLEET: Final = "this relay shares nothing: fleet.url is not set; see docs/fleet.md"


def show(args: argparse.Namespace) -> int:
    """Print the relays of the fleet; return the exit code."""
    if args.nagios:
        raise CommandError("status: give either --fleet or --nagios")
    answer = control_client(args).ask("GET", "fleet", "relays")
    if answer["fleet"] is None:
        raise CommandError(_NO_FLEET)
    if args.json:
        print(json.dumps(answer, indent=2))
    else:
        _print(answer, time.time())
    if answer["problem"]:
        lacking = f"the relays are not known: {answer['problem']}"
        print(f"postfix-mta-sts: {lacking}", file=sys.stderr)
        return FAILURE
    return OK


def _print(answer: Mapping[str, Any], now: float) -> None:
    from postfix_mta_sts.cli import terminal  # noqa: PLC0415 (rich: see there)

    relays = answer["relays"]
    if relays:
        table = terminal.Columns(*_COLUMNS, dispensable=_DISPENSABLE)
        table.print_rows(_row(each, now) for each in relays)
        print()
    lines = [*own_lines(answer["fleet"], now)]
    if relays:
        lines.append(("relays", _sum(relays)))
    if answer["refused"]:
        others = f"{answer['refused']} not shown: signed with another key, or not valid"
        lines.append(("", f"{others}; see fleet check"))
    print(terminal.pairs(lines))


def _row(relay: Mapping[str, Any], now: float) -> tuple[object, ...]:
    seen = ago(min(relay["seen_at"], now), now)
    return (
        f"{relay['name']} (here)" if relay["here"] else relay["name"],
        f"SILENT {seen}" if relay["silent"] else seen,
        relay["policies"],
        _lag(relay),
        f"v{relay['exceptions_version']}",
        relay["version"],
    )


def _lag(relay: Mapping[str, Any]) -> str:
    """What the fleet does not have of a relay yet, and the relay not of the fleet."""
    waiting, behind = relay["waiting"], relay["exceptions_behind"]
    parts = []
    if waiting:
        parts.append("1 policy" if waiting == 1 else f"{waiting:,} policies")
    if behind:
        parts.append(counted(behind, "version"))
    return ", ".join(parts) or "none"


def _sum(relays: list[Mapping[str, Any]]) -> str:
    silent = sum(each["silent"] for each in relays)
    latest = max(each["exceptions_version"] for each in relays)
    behind = sum(each["exceptions_behind"] > 0 and not each["silent"] for each in relays)
    parts = [counted(len(relays), "relay"), f"{silent} silent" if silent else "none is silent"]
    if behind:
        parts.append(f"{behind} without the last exceptions, v{latest}")
    return ", ".join(parts)


def own_lines(fleet: Mapping[str, Any], now: float) -> Iterator[tuple[str, object]]:
    """Yield what this relay has to do with the shared store."""
    lasts = "" if fleet["since"] is None else f" for {span(now - fleet['since'])}"
    if fleet["ok"]:
        state = f"well{lasts}" if lasts else "not asked yet"
    else:
        failure, rest = _failure(fleet)
        state = f"{failure.upper()}{lasts}: {fleet['reason']}; {rest}"
    yield "fleet", state
    yield "", f"{fleet['name']} at {fleet['url']}"
    if fleet["waiting"]:
        yield "", f"policies that wait to be given to it: {fleet['waiting']:,}"


def in_short(fleet: Mapping[str, Any], now: float) -> str:
    """Return the same in a few words, for monitoring."""
    if fleet["ok"]:
        return "fleet well"
    lasts = "" if fleet["since"] is None else f" for {span(now - fleet['since'])}"
    return f"fleet {_failure(fleet)[0]}{lasts} ({fleet['reason']}), mail does not depend on it"


def _failure(fleet: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong with the store, and what works nevertheless."""
    if fleet["breaker_open"]:
        return "not reached", "it is asked again within a minute"
    if fleet["too_slow"]:
        return "too slow", "look-ups do not ask it, and all else is shared"
    return "not written", "it is read"


def warnings(settings: Settings) -> Iterator[str]:
    """Ask the daemon, and yield a line if the shared store does not answer it."""
    try:
        client = ControlClient(control_path(settings, os.environ), WARNING_TIMEOUT)
        fleet = client.ask("GET", "fleet")["fleet"]
    except ControlError:  # this user need not be one that may ask
        return
    if fleet and not fleet["ok"]:
        yield in_short(fleet, time.time())
