"""`postfix-mta-sts status`: how the running daemon fares."""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from postfix_mta_sts.cli.locate import control_client
from postfix_mta_sts.cli.parser import OK, Commands, add_config
from postfix_mta_sts.cli.times import ago, ahead


def add(commands: Commands) -> None:
    """Add the command."""
    command = commands.add("status", _status, "say how the running daemon fares")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    add_config(command)


def _status(args: argparse.Namespace) -> int:
    said = control_client(args).ask("GET", "status")
    if args.json:
        print(json.dumps(said, indent=2))
    else:
        from postfix_mta_sts.cli import terminal  # noqa: PLC0415 (rich: see there)

        print(terminal.pairs(_lines(said, time.time())))
    return OK


def _lines(said: Mapping[str, Any], now: float) -> Iterator[tuple[str, object]]:
    yield "daemon", f"{said['version']}, process {said['pid']}"
    yield "started", ago(said["started_at"], now)
    yield from _processes(said["processes"])
    yield "configuration", said["config"] or "built-in defaults"
    for listener in said["listening"]:
        yield "listens", listener
    yield "DANE", f"{'on' if said['dane']['on'] else 'off'}: {said['dane']['reason']}"
    if said["dane"]["advice"]:
        yield "", said["dane"]["advice"]
    yield "policies", _counted(said["policies"]["by_mode"])
    yield "", f"longest not renewed: {ago(said['policies']['oldest_fetched_at'], now)}"
    lookups = said["lookups"]
    yield "look-ups", _counted(lookups["by_answer"])
    yield "answered from", _counted(lookups["by_source"]) + _share(lookups["from_memory"])
    yield "", f"malformed {lookups['malformed']}"
    for stage, ended in said["attempts"]["ended"].items():
        yield f"attempts, {stage}", _counted(ended)
    yield "under way", said["attempts"]["under_way"]
    if said["next_renewal_at"] is not None:  # else it is another worker's part
        yield "renewal", f"looked for what is due {ahead(said['next_renewal_at'], now)}"
    yield "in memory", _counted(said["memory"])
    yield "connections", said["connections"]
    yield "store", f"{said['store_path']}: {_counted(said['store'])}"
    yield "not working", ", ".join(said["not_working"]) or "nothing"


def _processes(processes: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    wanted, answering = processes["wanted"], processes["answering"]
    if wanted > 1:
        yield "workers", f"{len(answering)} of {wanted} answer: {', '.join(map(str, answering))}"


def _counted(numbers: Mapping[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in numbers.items())


def _share(share: float | None) -> str:
    return "" if share is None else f" ({100 * share:.1f} % from memory)"
