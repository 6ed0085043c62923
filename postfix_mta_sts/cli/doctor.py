"""`postfix-mta-sts doctor`: whether the Postfix and the daemon of this machine are set up right."""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.admin.doctor.collect import Collector
from postfix_mta_sts.admin.doctor.collect_daemon import CONTROL_TIMEOUT
from postfix_mta_sts.admin.doctor.given import Given
from postfix_mta_sts.admin.doctor.judge import judge
from postfix_mta_sts.admin.doctor.report import Report, Unseen
from postfix_mta_sts.admin.doctor.sight import BUDGET
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.admin.doctor.unit_variables import read_unit_variables
from postfix_mta_sts.cli import doctor_text
from postfix_mta_sts.cli.doctor_configuration import Preflight, is_root, read_given
from postfix_mta_sts.cli.domain_argument import domain_of
from postfix_mta_sts.cli.live import Live, live, run_with
from postfix_mta_sts.cli.locate import control_path
from postfix_mta_sts.cli.output import output_to_reader
from postfix_mta_sts.cli.parser import FAILURE, OK, CommandError, Commands, add_config
from postfix_mta_sts.config import config_file
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.installed.main_cf_file import read_assignments
from postfix_mta_sts.values import json_schema, to_plain

USAGE: Final = 64
"""The exit code EX_USAGE (sysexits.h); the others are in `report`."""
_LEAST_BUDGET: Final = 2.0
"""Seconds for all that is looked at, however long systemd took to say what the unit has."""
_NO_MAIN_CF: Final = "it has no parameters of Postfix; name a main.cf, or the output of postconf"
_TEXT: Final = "say whether Postfix and the daemon are set up right, and what mends what is not"


def add(commands: Commands) -> None:
    """Add the command."""
    command = commands.add("doctor", _doctor, _TEXT, USAGE)
    meaning = "look at this main.cf, or the output of postconf, where Postfix runs elsewhere"
    command.add_argument("--main-cf", metavar="FILE", type=Path, help=meaning)
    meaning = "also try to reach the Policy Host and the MX hosts of DOMAIN, which has a policy"
    command.add_argument("--outward", metavar="DOMAIN", help=meaning)
    form = command.add_mutually_exclusive_group()
    meaning = "print one JSON object; --schema has its schema"
    form.add_argument("--json", action="store_true", help=meaning)
    meaning = "print the JSON schema of --json, and do nothing else"
    form.add_argument("--schema", action="store_true", help=meaning)
    add_config(command)


def _doctor(args: argparse.Namespace) -> int:
    if args.schema:
        with output_to_reader(FAILURE):
            print(json.dumps(json_schema(Report), indent=2))
        return OK
    start = time.monotonic()
    unit = asyncio.run(read_unit_variables())
    budget = max(_LEAST_BUDGET, BUDGET - (time.monotonic() - start))
    environ = {**os.environ, **unit.variables}
    given = _given(args, environ, unit.config)
    given = replace(
        given,
        unseen=(*given.unseen, *unit.unseen),
        config_problems=(*given.config_problems, *unit.problems),
    )
    output = live(sys.stderr if args.json else sys.stdout)
    report = judge(_look(given, environ, output, budget))
    with output_to_reader(FAILURE):
        _show(report, as_json=args.json)
    return report.exit_code


def _given(args: argparse.Namespace, environ: Mapping[str, str], of_unit: Path | None) -> Given:
    """What the arguments say; `of_unit` is the file that the daemon reads, unless they name one.

    Raises `CommandError`.
    """
    domain = domain_of(args.outward, USAGE) if args.outward is not None else None
    given = replace(read_given(args, environ, USAGE, of_unit), outward=domain)
    return _with_main_cf(given, args.main_cf) if args.main_cf else given


def _with_main_cf(given: Given, path: Path) -> Given:
    """The same, with a main.cf, and the master.cf that is beside a file of this name.

    Raises `CommandError`.
    """
    try:
        text = config_file.read_text(path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", USAGE) from None
    if not read_assignments(text)[0]:  # a pipe, for example, whose first command has failed
        raise CommandError(f"{path}: {_NO_MAIN_CF}", USAGE)
    given = replace(given, main_cf_file=path, main_cf_text=text)
    beside = path.with_name("master.cf")
    if path.name != "main.cf" or not beside.exists():
        return given
    try:
        return replace(given, master_cf_text=config_file.read_text(beside))
    except OSError as error:
        unseen = Unseen(printable(str(beside)), printable(error.strerror or ""))
        return replace(given, unseen=(*given.unseen, unseen))


def _look(given: Given, environ: Mapping[str, str], output: Live, budget: float) -> Snapshot:
    """Look at everything within `budget` seconds; on a terminal, show what is being waited for."""
    found: list[Snapshot] = []

    async def look() -> None:
        client = ControlClient(control_path(given.settings, environ), CONTROL_TIMEOUT)
        preflight = Preflight(given, environ, is_root=is_root())
        collector = Collector(given, client, preflight, budget=budget)

        async def collect() -> None:
            found.append(await collector.run())

        await run_with(collect(), lambda: output.spin(", ".join(collector.pending) or "the start"))

    try:
        asyncio.run(look())
    finally:
        output.clear()
    return found[0]


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(to_plain(report), indent=2))
    else:
        for line in doctor_text.lines(report):
            print(line)
