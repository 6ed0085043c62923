"""`postfix-mta-sts seed FILE`: look up the domains of a list before Postfix asks for them.

The list, the rate and the number of parallel look-ups are handled here; each look-up is one
attempt of the resolver, as in the daemon.
"""

import argparse
import asyncio
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from postfix_mta_sts import logs
from postfix_mta_sts.cli.live import progress
from postfix_mta_sts.cli.locate import become_owner_of, open_store, store_path
from postfix_mta_sts.cli.parser import (
    INTERRUPTED,
    OK,
    CommandError,
    Commands,
    add_config,
    load_settings,
)
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError, NoRecordError
from postfix_mta_sts.mtasts.lifecycle import State, live
from postfix_mta_sts.network.clients import open_clients
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.sources import Sources

CONCURRENCY: Final = 200
"""Domains looked up at the same time at most, however many of them hang."""
_RATE: Final = 10.0
_RATE_LIMIT: Final = 1000
_INTERRUPTED: Final = "not looked up: interrupted"
_BAD: Final = "lines without a valid domain"
_BAD_LIMIT: Final = 20
"""Bad lines that are printed; the others are only counted."""
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

LookUp: TypeAlias = Callable[[Domain], Awaitable[State | None]]


def add(commands: Commands) -> None:
    """Add the command."""
    text = "look up the domains of a list before Postfix asks for them"
    command = commands.add("seed", _seed, text)
    text = "the list: one domain per line, # starts a comment; - reads standard input"
    command.add_argument("file", metavar="FILE", help=text)
    text = f"look up at most N domains per second (default: {_RATE:g})"
    command.add_argument("--rate", metavar="N", type=_rate, default=_RATE, help=text)
    text = "log policies and failures as the daemon does, and show no progress bar"
    command.add_argument("-v", "--verbose", action="store_true", help=text)
    add_config(command)


def _rate(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text) or not 0 < float(text) <= _RATE_LIMIT:
        raise argparse.ArgumentTypeError(f"not a number above 0, and at most {_RATE_LIMIT}")
    return float(text)


def _seed(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    listed = parse_list(_read(args.file))
    path = store_path(settings, os.environ)
    become_owner_of(path.parent)
    logs.set_up("info" if args.verbose else "error", settings.log.format, sys.stderr)
    counters: Counter[str] = Counter()
    try:
        with progress(len(listed.domains), shown=not args.verbose) as advance:

            def count(result: str) -> None:
                counters[result] += 1
                advance()

            asyncio.run(_seed_store(settings, path, listed.domains, Rate(args.rate), count))
    except KeyboardInterrupt:  # asyncio.run has cancelled the look-ups in progress
        counters[_INTERRUPTED] = len(listed.domains) - counters.total()
    _print_bad(args.file, listed)
    for result, number in [*counters.most_common(), (_BAD, len(listed.bad))]:
        if number:
            print(f"{number:8} {result}")
    return INTERRUPTED if _INTERRUPTED in counters else OK


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from error


def _print_bad(name: str, listed: "DomainList") -> None:
    for number, reason in listed.bad[:_BAD_LIMIT]:
        print(f"{name}:{number}: {reason}", file=sys.stderr)
    if (more := len(listed.bad) - _BAD_LIMIT) > 0:
        print(f"{name}: {more} more lines without a valid domain", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class DomainList:
    """A parsed list of domains."""

    domains: tuple[Domain, ...]
    """In the order of the list, without duplicates."""
    bad: tuple[tuple[int, str], ...]
    """Lines without a valid domain: the line number, counted from 1, and the reason."""


def parse_list(data: bytes) -> DomainList:
    """Parse a list in UTF-8, one domain per line; text after a # is a comment."""
    domains: dict[Domain, None] = {}  # an ordered set
    bad = []
    for number, line in enumerate(data.removeprefix(_BYTE_ORDER_MARK).split(b"\n"), 1):
        try:
            if text := line.decode("utf-8").partition("#")[0].strip():
                domains[parse_domain(text)] = None
        except UnicodeDecodeError:
            bad.append((number, "not UTF-8"))
        except InvalidDomainError as error:
            bad.append((number, str(error)))
    return DomainList(tuple(domains), tuple(bad))


async def _seed_store(
    settings: Settings,
    path: Path,
    domains: Sequence[Domain],
    rate: "Rate",
    count: Callable[[str], None],
) -> None:
    """Look up each domain as the daemon does, and save the policies in the store."""
    async with (
        open_store(path) as store,
        open_clients(NetworkSettings.of(settings)) as (dns, fetcher),
    ):
        sources = Sources(dns.discover, fetcher.fetch, store, time.time, random.random)
        # Each domain is looked up once and its result is stored: a larger cache has no use.
        resolver = Resolver(
            sources, lookup_timeout=settings.lookup.timeout, limits=Limits(1, 2**20)
        )

        async def load(domain: Domain) -> State | None:
            """Return a stored state that is not due for renewal; record the domain as asked for.

            The daemon renews only policies that were asked for.
            """
            now = time.time()
            resolver.usage.note(domain, 0, now)
            state = live(await store.load(domain), now)
            return state if state and now < state.refetch_at else None

        try:
            await look_up_all(domains, load, resolver.refresh, rate, count)
        finally:
            await resolver.close()
            await store.touch(resolver.usage.take())


async def look_up_all(
    domains: Iterable[Domain],
    load: LookUp,
    look_up: LookUp,
    rate: "Rate",
    count: Callable[[str], None],
) -> None:
    """Look up each domain that `load` does not know, and pass the result of each to `count`.

    A look-up returns None if it was cancelled. This function may be cancelled too: the results
    counted until then are valid.
    """
    free = asyncio.Semaphore(CONCURRENCY)

    async def run(domain: Domain) -> None:
        try:
            count(describe(await look_up(domain)))
        finally:
            free.release()

    async with asyncio.TaskGroup() as group:
        for domain in domains:
            if state := await load(domain):
                count(describe(state))
                continue
            await free.acquire()
            await rate.wait()
            group.create_task(run(domain), name=f"seed {domain}")


class Rate:
    """Spaces out the starts of look-ups evenly; lost time is not made up for."""

    def __init__(
        self,
        per_second: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._interval = 1 / per_second
        self._monotonic = monotonic
        self._sleep = sleep
        self._next = monotonic()

    async def wait(self) -> None:
        """Return when the next look-up may start."""
        now = self._monotonic()
        start = max(self._next, now)
        self._next = start + self._interval
        if start > now:
            await self._sleep(start - now)


def describe(state: State | None) -> str:
    """Return the mode of the policy, `no policy`, or `failed: ` and the code of the error."""
    if state and state.policy:
        return state.policy.mode
    code = state.failure.code if state and state.failure else "cancelled"
    return "no policy" if code == NoRecordError.code else f"failed: {code}"
