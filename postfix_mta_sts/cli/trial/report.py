"""`postfix-mta-sts trial report`: what the running daemon knows of a trial."""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from postfix_mta_sts.admin.client import ControlError
from postfix_mta_sts.admin.findings import Finding
from postfix_mta_sts.admin.times import span
from postfix_mta_sts.cli.locate import control_client
from postfix_mta_sts.cli.output import output_to_reader
from postfix_mta_sts.cli.parser import CommandError
from postfix_mta_sts.cli.trial.show import Report, show_json, show_text
from postfix_mta_sts.cli.trial.tally import NOT_KNOWN
from postfix_mta_sts.config.settings import ConfigError
from postfix_mta_sts.values import from_plain

_OFF: Final = "the trial is off in all maps, so that policies are enforced already"

_WITHOUT_FLEET: Final = "checks of other relays are missing"


def report(args: argparse.Namespace) -> int:
    """Print the report of the daemon; return the exit code of `Tally`."""
    try:
        entries = control_client(args).lines("trial", asked_within=str(args.since))
        code = NOT_KNOWN  # if the reader of the output ends before it has all of it
        with output_to_reader(NOT_KNOWN):
            code = _show(args, entries)
    except (ControlError, ConfigError) as error:
        raise CommandError(str(error), NOT_KNOWN) from error
    except (KeyError, StopIteration, ValueError) as error:
        reason = "the running daemon is of another version, and says what is not understood here"
        raise CommandError(f"{reason}; restart it", NOT_KNOWN) from error
    return code


def _show(args: argparse.Namespace, entries: Iterator[Mapping[str, Any]]) -> int:
    head = next(entries)
    told = about(head)
    show = show_json if args.json else show_text
    return show(_findings(entries, told.lacking), told).exit_code


def _findings(entries: Iterator[Mapping[str, Any]], lacking: list[str]) -> Iterator[Finding]:
    """The findings; what the report lacks, which comes behind them, goes into `lacking`."""
    for entry in entries:
        if "incomplete" in entry:
            lacking.append(f"{_WITHOUT_FLEET}: {entry['incomplete']}")
        else:
            yield from_plain(entry, Finding)


def about(head: Mapping[str, Any]) -> Report:
    """What is said beside the findings; `head` is the first object that the daemon sends."""
    sentence = "" if head["trial"]["on"] else _OFF
    return Report(facts=tuple(_facts(head)), head=head, sentence=sentence)


def _facts(head: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    trial = head["trial"]
    yield "trial", _where(trial["on"], trial["off"])
    if trial["dane"]:
        yield "", "DANE is on trial, too"
    if trial["on"]:
        yield "checks", f"each domain at most once in {span(trial['every'])}"
    yield "asked for", f"since {head['first_day']} 00:00Z"


def _where(on: Iterable[str], off: Iterable[str]) -> str:
    if not on:
        return "off in all maps"
    return f"on in {', '.join(on)}; off in {', '.join(off)}" if off else "on in all maps"
