"""`postfix-mta-sts seed FILE`: look up the domains of a list before Postfix asks for them."""

import argparse
import asyncio
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from postfix_mta_sts import logs
from postfix_mta_sts.cli import seed_list
from postfix_mta_sts.cli.locate import become_owner_of, opened_store, store_path
from postfix_mta_sts.cli.parser import FAILURE, OK, CommandError, Commands, add_config, settings
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State, live
from postfix_mta_sts.network.clients import network
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.resolver.attempt import Sources
from postfix_mta_sts.resolver.resolver import Resolver

_RATE: Final = 10.0
_RATE_MOST: Final = 1000
_LEFT: Final = "not asked for any more"
_BAD: Final = "bad lines"
_BAD_SHOWN: Final = 20
"""Lines that name no domain, and are shown; the others are counted."""


def add(commands: Commands) -> None:
    """Add the command."""
    text = "fetch the policies of a list of domains, before Postfix asks for them"
    command = commands.add("seed", _seed, text)
    text = "the list, one domain a line, # begins a comment; - is standard input"
    command.add_argument("file", metavar="FILE", help=text)
    text = f"domains a second at most (default: {_RATE:g})"
    command.add_argument("--rate", metavar="N", type=_rate, default=_RATE, help=text)
    text = "log what is found and what fails, as the daemon does, and show no progress"
    command.add_argument("-v", "--verbose", action="store_true", help=text)
    add_config(command)


def _seed(args: argparse.Namespace) -> int:
    chosen = settings(args)
    listed = seed_list.listed(_read(args.file))
    path = store_path(chosen, os.environ)
    become_owner_of(path.parent)
    logs.set_up("info" if args.verbose else "error", chosen.log.format, sys.stderr)
    counters: Counter[str] = Counter()
    try:
        with _progress(len(listed.domains), shown=not args.verbose) as advance:

            def told(word: str) -> None:
                counters[word] += 1
                advance()

            asyncio.run(_sow(chosen, path, listed.domains, seed_list.Rate(args.rate), told))
    except KeyboardInterrupt:  # asyncio.run has ended what was under way
        counters[_LEFT] = len(listed.domains) - counters.total()
    _print_bad(args.file, listed)
    for word, count in [*counters.most_common(), (_BAD, len(listed.bad))]:
        if count:
            print(f"{count:8} {word}")
    return FAILURE if _LEFT in counters else OK


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from error


@contextmanager
def _progress(total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """What is to be called once for each domain; it moves a bar, if somebody can see it."""
    if not shown or not sys.stderr.isatty():
        yield lambda: None
        return
    from postfix_mta_sts.cli.progress import bar  # noqa: PLC0415 (rich: see there)

    with bar(total, sys.stderr) as advance:
        yield advance


async def _sow(
    chosen: Settings,
    path: Path,
    domains: Sequence[Domain],
    rate: seed_list.Rate,
    told: Callable[[str], None],
) -> None:
    """Look each domain up as the daemon does, and keep what there is."""
    async with opened_store(path) as store, network(NetworkSettings.of(chosen)) as (dns, fetcher):
        sources = Sources(dns.discover, fetcher.fetch, store, time.time, random.random)
        # What comes of an attempt is on file; nobody asks twice, so that memory is of no use.
        resolver = Resolver(sources, lookup_timeout=chosen.lookup.timeout, entries=1)

        async def known(domain: Domain) -> State | None:
            """What is fresh on file. It is asked for now, so that the daemon keeps it alive."""
            now = time.time()
            resolver.usage.note(domain, 0, now)
            state = live(await store.load(domain), now)
            return state if state and now < state.refetch_at else None

        try:
            await seed_list.seed(domains, known, resolver.refresh, rate, told)
        finally:
            await resolver.close()
            await store.touch(resolver.usage.take())


def _print_bad(name: str, listed: seed_list.Listed) -> None:
    for number, reason in listed.bad[:_BAD_SHOWN]:
        print(f"{name}:{number}: {reason}", file=sys.stderr)
    if (more := len(listed.bad) - _BAD_SHOWN) > 0:
        print(f"{name}: {more} more lines that name no domain", file=sys.stderr)


def _rate(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text) or not 0 < float(text) <= _RATE_MOST:
        raise argparse.ArgumentTypeError(f"not a number above 0, and at most {_RATE_MOST}")
    return float(text)
