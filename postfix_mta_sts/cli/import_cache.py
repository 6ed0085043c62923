"""`postfix-mta-sts import FILE`: import the SQLite cache of postfix-mta-sts-resolver."""

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
from postfix_mta_sts.cli.parser import (
    INTERRUPTED,
    OK,
    CommandError,
    Commands,
    add_config,
    load_settings,
)
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State, live
from postfix_mta_sts.store import Store, sts_resolver

_BATCH: Final = 500
"""Rows written in one transaction."""
_IMPORTED: Final = "imported"
_NOT_NEEDED: Final = "skipped: the store has a policy that is as good"


def add(commands: Commands) -> None:
    """Add the command."""
    text = "import the SQLite cache of postfix-mta-sts-resolver"
    command = commands.add("import", _import, text)
    command.add_argument("file", metavar="FILE", type=Path, help="the cache file; it may be in use")
    command.add_argument(
        "-v", "--verbose", action="store_true", help="print each row that is refused"
    )
    add_config(command)


def _import(args: argparse.Namespace) -> int:
    path = store_path(load_settings(args), os.environ)
    counters: Counter[str] = Counter()
    code = OK
    try:
        with sts_resolver.open_cache(args.file) as rows:
            become_owner_of(path.parent)
            asyncio.run(_import_rows(path, rows, counters, verbose=args.verbose))
    except sts_resolver.ForeignCacheError as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:  # asyncio.run has cancelled the batch in progress
        code = INTERRUPTED
    print(f"{counters.pop(_IMPORTED, 0):8} {_IMPORTED} into {path}")
    for reason, count in counters.most_common():
        print(f"{count:8} {reason}")
    if code == INTERRUPTED:
        print("interrupted; the same command imports the rest")
    return code


async def _import_rows(
    path: Path, rows: Iterable[sts_resolver.ForeignRow], counters: Counter[str], *, verbose: bool
) -> None:
    states = _states(rows, counters, verbose=verbose)
    async with open_store(path) as store:
        while batch := list(islice(states, _BATCH)):
            counters.update(await asyncio.gather(*(_save(store, *each) for each in batch)))


def _states(
    rows: Iterable[sts_resolver.ForeignRow], counters: Counter[str], *, verbose: bool
) -> Iterator[tuple[Domain, State]]:
    """Yield the states of valid rows; count the others."""
    for row in rows:
        try:
            yield sts_resolver.state_of(row, time.time())
        except sts_resolver.RefusedError as error:
            counters[f"refused: {error.refusal}"] += 1
            if verbose:
                print(f"row {row.number}, {sts_resolver.show_value(row.domain)}: {error}")


async def _save(store: Store, domain: Domain, state: State) -> str:
    """Save a state, unless the stored one is as good; return the result in words."""
    if _is_as_good(await store.load(domain), state):
        return _NOT_NEEDED
    # The other program fetched it because Postfix asked; it stores no other time of a request.
    await store.save(domain, state, asked_at=state.fetched_at)
    return _IMPORTED


def _is_as_good(stored: State | None, state: State) -> bool:
    """Whether the stored state was fetched later, or is valid and has the same policy id.

    With the same id the stored state is better: the other program's time may be that of a DNS
    query only, and it does not store the text of the policy.
    """
    if (
        stored is None or stored.fetched_at > state.checked_at
    ):  # a time in the future proves nothing
        return False
    same_id = live(stored, state.checked_at) and stored.policy_id == state.policy_id
    return bool(same_id) or stored.fetched_at >= state.fetched_at
