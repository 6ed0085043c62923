"""`postfix-mta-sts trial scan`: look at the domains of a list, without a daemon.

The domains are in a `worklist`, so that the list may be of any size. Each result is written at
once, so that Ctrl-C loses nothing.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Final, TypeAlias

from postfix_mta_sts.admin.findings import Finding
from postfix_mta_sts.admin.times import counted
from postfix_mta_sts.cli.live import live, progress
from postfix_mta_sts.cli.output import output_to_reader
from postfix_mta_sts.cli.parser import INTERRUPTED, CommandError, load_settings
from postfix_mta_sts.cli.trial.inputs import Read, print_bad, read_list, read_mail_log
from postfix_mta_sts.cli.trial.lines import STDIN
from postfix_mta_sts.cli.trial.results import Results, open_results
from postfix_mta_sts.cli.trial.show import Report, show_json, show_text
from postfix_mta_sts.cli.trial.sources import open_finder
from postfix_mta_sts.cli.trial.tally import NOT_KNOWN, USAGE
from postfix_mta_sts.cli.trial.worklist import Worklist, worklist
from postfix_mta_sts.config.settings import ConfigError
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.postfix.own_domains import read_own_domains

Reader: TypeAlias = Callable[[str, Callable[[Domain], None], Callable[[], None]], Read]
Find: TypeAlias = Callable[[Domain], Awaitable[Finding]]
_AGAIN: Final = "the same command goes on"
_NO_RESULTS: Final = "with --results FILE, the same command could go on"


def scan(args: argparse.Namespace) -> int:
    """Look at all domains and print the report; return the exit code of `Tally`."""
    names = [*args.maillog, *([args.file] if args.file else [])]
    if not names:
        raise CommandError("trial scan: give a FILE, or --maillog FILE", USAGE)
    if names.count(STDIN) > 1:
        raise CommandError("trial scan: only one of the files can be standard input", USAGE)
    try:
        settings = load_settings(args)
    except ConfigError as error:
        raise CommandError(str(error), NOT_KNOWN) from error
    with (
        worklist() as work,
        open_results(args.results) if args.results else nullcontext() as results,
    ):
        bad = _read(args, work)
        for finding in results.read() if results else ():
            work.note_earlier(finding)
        is_complete = _look_at_all(args, work, results, partial(open_finder, settings))
        code = NOT_KNOWN  # if the reader of the output ends before it has all of it
        with output_to_reader(NOT_KNOWN):
            show = show_json if args.json else show_text
            code = show(work.findings(), _report(bad, is_complete=is_complete)).exit_code
    return code if is_complete else INTERRUPTED


def _read(args: argparse.Namespace, work: Worklist) -> int:
    """Read all files; on a terminal, say which one. Return the number of bad lines."""
    output, bad = live(sys.stderr), 0
    own = asyncio.run(read_own_domains()) if args.maillog else frozenset()
    read_log = partial(read_mail_log, own=own)
    named: list[tuple[Reader, str]] = [(read_log, name) for name in args.maillog]
    if args.file:
        named.append((read_list, args.file))
    for read, name in named:
        try:
            found = read(name, work.add, partial(output.spin, f"the end of {name}"))
        finally:
            output.clear()
        print_bad(name, found)
        bad += found.bad
        if found.lines and not found.domains and not found.bad:
            what = "no domain" if read is read_list else "no delivery to another host"
            print(f"{name}: {what} in {counted(found.lines, 'line')}", file=sys.stderr)
    return bad


def _report(bad: int, *, is_complete: bool) -> Report:
    lines = (("not valid", counted(bad, "line")),) if bad else ()
    head = {"invalid_lines": bad}
    return Report(facts=lines, head=head, is_scan=True, is_complete=is_complete)


def _look_at_all(
    args: argparse.Namespace,
    work: Worklist,
    results: Results | None,
    finder: Callable[[], AbstractAsyncContextManager[Find]],
) -> bool:
    """Look at the domains that are left; after Ctrl-C, say how to go on and return False."""
    try:
        with progress(work.count_pending()) as advance:

            def found(finding: Finding) -> None:
                if results:
                    results.append(finding)
                work.note(finding)
                advance()

            asyncio.run(look_at_all(work.pending(), finder, found, args.at_once))
    except KeyboardInterrupt:  # asyncio.run has cancelled what was under way
        total = work.count()
        done = f"{total - work.count_pending():,} of {counted(total, 'domain')} done"
        advice = _AGAIN if results else _NO_RESULTS
        print(f"interrupted: {done}; {advice}", file=sys.stderr)
        return False
    return True


async def look_at_all(
    domains: Iterator[Domain],
    finder: Callable[[], AbstractAsyncContextManager[Find]],
    found: Callable[[Finding], None],
    at_once: int,
) -> None:
    """Pass what is found of each domain to `found`; look at no more than `at_once` at once.

    Raises what ended it: of several errors one that is for people, else the first one.
    """

    async def work(find: Find) -> None:
        for domain in domains:
            found(await find(domain))

    try:
        async with finder() as find, asyncio.TaskGroup() as group:
            for number in range(at_once):
                group.create_task(work(find), name=f"scan {number}")
    except ExceptionGroup as errors:
        for_people = (each for each in errors.exceptions if isinstance(each, UserError))
        raise next(for_people, errors.exceptions[0]) from None
