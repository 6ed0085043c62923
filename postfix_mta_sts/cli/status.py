"""`postfix-mta-sts status`: the state of the running daemon, or the relays of its fleet."""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from postfix_mta_sts.admin.client import CLIENT_TIMEOUT
from postfix_mta_sts.admin.times import ago, ahead
from postfix_mta_sts.cli import fleet_status, nagios
from postfix_mta_sts.cli.locate import control_client
from postfix_mta_sts.cli.parser import OK, Commands, add_config, load_settings


def add(commands: Commands) -> None:
    """Add the command."""
    command = commands.add("status", _status, "show the state of the running daemon")
    form = command.add_mutually_exclusive_group()
    text = "list the relays that share a store with this one, and the lag of each"
    command.add_argument("--fleet", action="store_true", help=text)
    form.add_argument("--json", action="store_true", help="print one JSON object")
    text = "print one line for Nagios; exit code 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN"
    form.add_argument("--nagios", action="store_true", help=text)
    add_config(command)


def _status(args: argparse.Namespace) -> int:
    if args.fleet:
        return fleet_status.show(args)
    if args.nagios:
        found = nagios.check(partial(_ask_strictly, args), time.time())
        print(found.line)
        return found.code
    status = _ask(args, CLIENT_TIMEOUT)
    if args.json:
        print(json.dumps(status, indent=2))
    else:
        from postfix_mta_sts.cli import terminal  # noqa: PLC0415 (rich: see there)

        print(terminal.pairs(_lines(status, time.time())))
    return OK


def _ask(args: argparse.Namespace, timeout: float) -> Mapping[str, Any]:
    status: Mapping[str, Any] = control_client(args, timeout).ask("GET", "status")
    return status


def _ask_strictly(args: argparse.Namespace) -> Mapping[str, Any]:
    """Ask in the time that a monitor has; an error of the configuration is one."""
    load_settings(args)
    return _ask(args, nagios.TIMEOUT)


def _lines(status: Mapping[str, Any], now: float) -> Iterator[tuple[str, object]]:
    yield from _first(status, now)
    yield "", ""
    yield "daemon", f"{status['version']}, process {status['pid']}"
    yield "started", ago(status["started_at"], now)
    yield "configuration", status["config"] or "built-in defaults"
    for listener in status["listening"]:
        yield "listening", listener
    yield from _sandbox(status.get("sandbox"))
    yield "policies", _counted(status["policies"]["by_mode"])
    yield "", f"longest not renewed: {ago(status['policies']['oldest_fetched_at'], now)}"
    lookups = status["lookups"]
    yield "look-ups", _counted(lookups["by_answer"])
    sources = lookups["by_source"].items()
    used = {name: number for name, number in sources if number or name != "fleet"}
    yield "answered from", _counted(used) + _share(lookups["from_memory"])
    yield "", f"malformed {lookups['malformed']}"
    for stage, ended in status["attempts"]["ended"].items():
        yield f"attempts, {stage}", _counted(ended)
    yield "under way", status["attempts"]["under_way"]
    if status["next_renewal_at"] is not None:
        yield "renewal", f"next check {ahead(status['next_renewal_at'], now)}"
    yield "in memory", _counted(status["memory"])
    yield "connections", status["connections"]
    yield "store", status["store_path"]
    yield "", _counted(status["store"])


def _first(status: Mapping[str, Any], now: float) -> Iterator[tuple[str, object]]:
    """What an administrator asks first."""
    answering, asked_at, failing = (status[k] for k in ("answering", "last_asked_at", "failing"))
    yield "answering", "yes" if answering["ok"] else f"NO: {answering['reason']}"
    yield "last asked", "never since the start" if asked_at is None else ago(asked_at, now)
    number = "1 domain" if failing == 1 else f"{failing or 'no'} domains"
    yield "failing", f"{number} in memory; policy list --failing also reads the store"
    yield "DANE", f"{'on' if status['dane']['on'] else 'off'}: {status['dane']['reason']}"
    if status["dane"]["advice"]:
        yield "", status["dane"]["advice"]
    yield from _exceptions(status.get("exceptions", {}), now)
    for i, part in enumerate(nagios.not_working(status)):
        yield "" if i else "not working", part
    if not status["not_working"]:
        yield "health", "all parts working"
    if status.get("fleet"):
        yield from fleet_status.own_lines(status["fleet"], now)
    if unwritten := status.get("log", {}).get("unwritten"):
        yield "log", f"{unwritten} lines lost since the start: not read in time, or not written"


def _sandbox(held: Mapping[str, Any] | None) -> Iterator[tuple[str, object]]:
    """What the network process is kept from, if one is ready."""
    if held is None:
        return
    ports = ", ".join(map(str, held["ports"] or ()))
    kept = (
        ("reads only what it needs, writes nothing", held["files"]),
        (f"TCP ports {ports} only", held["ports"] is not None),
        ("no UNIX sockets", held["unix_sockets"]),
        ("no other processes", held["processes"]),
    )
    yield "sandbox", "; ".join(text for text, holds in kept if holds) or "none"
    for each in held["missing"]:
        yield "", f"not restricted: {each}"


def _exceptions(counts: Mapping[str, Any], now: float) -> Iterator[tuple[str, object]]:
    """Those in force, if there are any."""
    if counts.get("in_force"):
        end = counts["next_end"]
        until = "" if end is None else f"; the next end is {ahead(end, now)}"
        yield "exceptions", f"{_counted(counts['by_use'])}{until}"
    if counts.get("problem"):
        yield "exceptions", f"those of commands are not known: {counts['problem']}"


def _counted(numbers: Mapping[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in numbers.items())


def _share(share: float | None) -> str:
    return "" if share is None else f" ({100 * share:.1f} % from memory)"
