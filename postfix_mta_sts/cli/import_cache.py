"""`postfix-mta-sts import FILE`: take over the policies that postfix-mta-sts-resolver has kept."""

import argparse
import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from postfix_mta_sts.cli.locate import become_owner_of, open_store, store_path
from postfix_mta_sts.cli.parser import OK, CommandError, Commands, add_config, settings
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State, live
from postfix_mta_sts.store import Store, sts_resolver

_AT_ONCE: Final = 500
"""Rows that are written in one transaction."""
_TAKEN: Final = "taken"
_ON_FILE: Final = "not needed: as good a policy is on file"


def add(commands: Commands) -> None:
    """Add the command."""
    text = "take over the SQLite cache of postfix-mta-sts-resolver"
    command = commands.add("import", _import, text)
    command.add_argument("file", metavar="FILE", type=Path, help="its file; it may be in use")
    command.add_argument(
        "-v", "--verbose", action="store_true", help="name each row that is not taken"
    )
    add_config(command)


def _import(args: argparse.Namespace) -> int:
    path = store_path(settings(args), os.environ)
    try:
        with sts_resolver.opened(args.file) as rows:
            become_owner_of(path.parent)
            counters = asyncio.run(_take_over(path, rows, verbose=args.verbose))
    except sts_resolver.ForeignCacheError as error:
        raise CommandError(str(error)) from error
    print(f"{counters.pop(_TAKEN, 0):8} {_TAKEN} into {path}")
    for reason, count in counters.most_common():
        print(f"{count:8} {reason}")
    return OK


async def _take_over(
    path: Path, rows: Iterable[sts_resolver.ForeignRow], *, verbose: bool
) -> Counter[str]:
    counters: Counter[str] = Counter()
    judged = _judged(rows, counters, verbose=verbose)
    async with open_store(path) as store:
        while some := list(islice(judged, _AT_ONCE)):
            counters.update(await asyncio.gather(*(_file(store, *each) for each in some)))
    return counters


def _judged(
    rows: Iterable[sts_resolver.ForeignRow], counters: Counter[str], *, verbose: bool
) -> Iterator[tuple[Domain, State]]:
    """The states that the rows stand for; rows that stand for none are counted."""
    for row in rows:
        try:
            yield sts_resolver.state_of(row, time.time())
        except sts_resolver.RefusedError as error:
            counters[f"refused: {error.refusal}"] += 1
            if verbose:
                print(f"row {row.number}, {sts_resolver.shown(row.domain)}: {error}")


async def _file(store: Store, domain: Domain, state: State) -> str:
    """Write a state, unless what is on file is as good; what came of it, in words."""
    if _is_as_good(await store.load(domain), state):
        return _ON_FILE
    # It was looked at because it had been asked for; nothing else says when that was.
    await store.save(domain, state, asked_at=state.fetched_at)
    return _TAKEN


def _is_as_good(on_file: State | None, state: State) -> bool:
    """Whether a row stays: it was fetched later, or lives under the same id.

    Of the same id the other program's time may be that of a look at the DNS only, and its fields
    are not the text as it was served.
    """
    if on_file is None or on_file.fetched_at > state.checked_at:  # from the future: no proof
        return False
    same = live(on_file, state.checked_at) and on_file.policy_id == state.policy_id
    return bool(same) or on_file.fetched_at >= state.fetched_at
