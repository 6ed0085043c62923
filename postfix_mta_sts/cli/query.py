"""`postfix-mta-sts query DOMAIN`: what happens to mail for a domain, and why."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.client import CLIENT_TIMEOUT, ControlClient
from postfix_mta_sts.admin.diagnosis import text
from postfix_mta_sts.admin.diagnosis.build import build
from postfix_mta_sts.admin.diagnosis.collect import Collector, Wanted
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.letter import has_letter, letter
from postfix_mta_sts.admin.diagnosis.values import (
    CANNOT_TELL,
    FLOWS,
    UNPROTECTED,
    Diagnosis,
    Flow,
)
from postfix_mta_sts.admin.times import moment
from postfix_mta_sts.cli import terminal
from postfix_mta_sts.cli.domain_argument import next_hop_of
from postfix_mta_sts.cli.live import Live, live, run_with
from postfix_mta_sts.cli.locate import control_client
from postfix_mta_sts.cli.output import output_to_reader
from postfix_mta_sts.cli.parser import (
    INTERRUPTED,
    OK,
    CommandError,
    Commands,
    add_config,
    load_settings,
)
from postfix_mta_sts.cli.probe import import_probe
from postfix_mta_sts.config.field_types import seconds
from postfix_mta_sts.config.settings import ConfigError, Settings
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.values import json_schema, to_plain

USAGE: Final = 64
"""The exit code EX_USAGE (sysexits.h); the others are in `Verdict.exit_code`."""
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
_TONES: Final = {
    Flow.POLICY: "green",
    Flow.DANE: "green",
    Flow.TESTING: "green",
    Flow.UNPROTECTED: "yellow",
    Flow.UNKNOWN: "yellow",
    Flow.HELD: "red",
    Flow.BOUNCED: "red",
}


def add(commands: Commands) -> None:
    """Add the command."""
    command = commands.add("query", _query, _TEXT, USAGE)
    meaning = "a domain, or a next-hop as Postfix writes it, such as [mx.example.com]:587"
    command.add_argument("domain", metavar="DOMAIN", nargs="?", help=meaning)
    for option, meaning in _OPTIONS:
        command.add_argument(option, action="store_true", help=meaning)
    meaning = f"time for the look-ups, and again for the MX hosts (default: {_SECONDS:g}s)"
    command.add_argument("--timeout", metavar="TIME", type=_time, default=_SECONDS, help=meaning)
    meaning = f"ask again each TIME until nothing is wrong (default: {_WATCH:g}s)"
    command.add_argument(
        "--watch", metavar="TIME", nargs="?", type=_pause, const=_WATCH, help=meaning
    )
    add_config(command)


def _time(given: str) -> float:
    try:
        span = seconds(given)
    except ValueError:
        raise argparse.ArgumentTypeError("not a time such as 10s or 2m") from None
    if not 1 <= span <= _LONGEST:
        raise argparse.ArgumentTypeError(f"not between 1s and {_LONGEST:g}s")
    return span


def _pause(given: str) -> float:
    """The time of `--watch`: a domain that follows it is taken for that."""
    try:
        return _time(given)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; the domain comes before --watch") from None


def _query(args: argparse.Namespace) -> int:
    if args.schema:
        with output_to_reader(CANNOT_TELL):
            print(json.dumps(json_schema(Diagnosis), indent=2))
        return OK
    if not args.domain:
        raise CommandError("query: which DOMAIN?", USAGE)
    next_hop_of(args.domain, USAGE)  # before anything else is read
    if args.smtp:
        import_probe("--smtp", CANNOT_TELL)
    try:
        settings, client = (
            load_settings(args),
            control_client(args, min(CLIENT_TIMEOUT, args.timeout)),
        )
    except ConfigError as error:
        raise CommandError(str(error), CANNOT_TELL) from error
    if args.watch:
        return _watch(args, settings, client)
    return _report(args, _diagnose(args, settings, client))


def _report(args: argparse.Namespace, diagnosis: Diagnosis) -> int:
    """Print all; return the exit code of the diagnosis, also if the reader has ended before."""
    with output_to_reader(CANNOT_TELL):
        _show(args, diagnosis)
    return _exit_code(diagnosis)


def _watch(args: argparse.Namespace, settings: Settings, client: ControlClient) -> int:
    """Ask until nothing is wrong; print one line for each time, and all of the last."""
    while True:
        diagnosis = _diagnose(args, settings, client)
        if diagnosis.waited_for or diagnosis.verdict.exit_code in {FLOWS, UNPROTECTED}:
            return _report(args, diagnosis)
        if args.json:
            print(json.dumps(to_plain(diagnosis)), flush=True)
        else:
            print(f"{moment(diagnosis.asked_at)} {diagnosis.verdict.sentence}", flush=True)
        time.sleep(args.watch)


def _diagnose(args: argparse.Namespace, settings: Settings, client: ControlClient) -> Diagnosis:
    """Ask once; after Ctrl-C the diagnosis is of what was found so far."""
    next_hop = next_hop_of(args.domain, USAGE)
    evidence = Evidence.of(next_hop, time.time())
    wanted = Wanted(args.smtp, args.through_postfix, args.timeout)
    output = live(sys.stderr if args.json or args.letter else sys.stdout)
    collector = Collector(evidence, settings, client, wanted)
    try:
        asyncio.run(run_with(collector.run(), lambda: _show_progress(output, evidence)))
    except KeyboardInterrupt:  # asyncio.run has cancelled the look-ups
        evidence.is_interrupted = True
    except UserError as error:
        output.clear()
        raise CommandError(str(error), CANNOT_TELL) from error
    output.clear()
    return build(evidence)


def _show_progress(output: Live, evidence: Evidence) -> None:
    """On a terminal, show what was found so far; the verdict takes its place in the end."""
    if evidence.pending:
        lines = terminal.unwrapped(text.details(build(evidence)))
        output.preview(lines, ", ".join(evidence.waits()))


def _show(args: argparse.Namespace, diagnosis: Diagnosis) -> None:
    if args.json:
        # One line for each time, for programs that read lines.
        print(json.dumps(to_plain(diagnosis), indent=None if args.watch else 2))
    elif args.letter:
        _show_letter(diagnosis)
    else:
        for line in _lines(diagnosis):
            print(line)


def _show_letter(diagnosis: Diagnosis) -> None:
    if has_letter(diagnosis):
        print(letter(diagnosis), end="")
    else:
        reason = "there is nothing that its postmaster could correct"
        print(f"{reason}: {diagnosis.verdict.sentence}", file=sys.stderr)


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    yield terminal.headline(diagnosis.verdict.sentence, _TONES[diagnosis.verdict.flow])
    if summary := list(text.summary(diagnosis)):
        yield terminal.labelled(summary)
    yield ""
    yield terminal.labelled(text.details(diagnosis))


def _exit_code(diagnosis: Diagnosis) -> int:
    return INTERRUPTED if diagnosis.waited_for else diagnosis.verdict.exit_code
