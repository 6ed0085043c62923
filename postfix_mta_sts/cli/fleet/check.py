"""`postfix-mta-sts fleet check`: try the shared store as a relay uses it, and say what to mend."""

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from functools import partial

from postfix_mta_sts.cli import terminal
from postfix_mta_sts.cli.fleet.setup import Connect, fleet_settings, opened
from postfix_mta_sts.cli.parser import FAILURE, OK
from postfix_mta_sts.store.fleet.checkup import Checkup, examine
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.values import to_plain

TO_MEND = 1
"""The exit code if a relay can use the store, and something is not as it should be."""


def check(args: argparse.Namespace, connect: Connect = opened) -> int:
    """Print what was found; return the exit code."""
    settings = fleet_settings(args)
    found = asyncio.run(examine(partial(connect, settings), settings, time.time, time.monotonic))
    code = exit_code(found)
    print(_json(settings, found, code) if args.json else text(settings, found))
    return code


def exit_code(found: Checkup) -> int:
    """Return the code of the process."""
    if not found.is_usable:
        return FAILURE
    return OK if found.is_well else TO_MEND


def _json(settings: SharedStoreSettings, found: Checkup, code: int) -> str:
    findings = [to_plain(each) for each in found.findings]
    where = {"url": settings.location.shown, "name": settings.name, "prefix": settings.prefix}
    return json.dumps({**where, "exit_code": code, "findings": findings}, indent=2)


def text(settings: SharedStoreSettings, found: Checkup) -> str:
    """Write what was found, for a person."""
    where = f"relay {settings.name} at {settings.location.shown}, prefix {settings.prefix}"
    return f"{where}\n\n{terminal.pairs(_lines(found))}\n\n{_conclusion(found)}"


def _lines(found: Checkup) -> Iterator[tuple[str, object]]:
    said = ""
    for each in found.findings:
        yield each.what, f"{'well' if each.is_well else 'NOT WELL'}: {each.found}"
        if each.mend and each.mend != said:  # one cause has several effects
            yield "", f"to mend: {each.mend}"
            said = each.mend


def _conclusion(found: Checkup) -> str:
    """What it means, and what mends it: the end of a long output is read first."""
    if found.is_well and found.is_usable:
        return "All is well."
    verdict = "This relay can use the store, and not all is well."
    if not found.is_usable:
        verdict = "This relay cannot use the store: it works, as it would without a fleet."
    remedies: dict[str, str] = {}
    for each in found.findings:
        if each.mend:
            remedies.setdefault(each.mend, each.what)  # one cause has several effects
    items = [f"{what}: {mend}" for mend, what in remedies.items()]
    return f"{verdict}\n\nTo mend:\n{terminal.listed(items)}" if items else verdict
