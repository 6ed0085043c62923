"""`postfix-mta-sts fleet purge`: remove what the shared store has of a domain, or the exceptions.

The exceptions stay in force on the relays. It is for those whose key no relay has any more, as one
that was stolen: no relay reads them, and none writes over what may have a newer key than its own.
"""

import argparse
import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from postfix_mta_sts.cli.domain_argument import domain_of
from postfix_mta_sts.cli.fleet.setup import Connect, fleet_settings, opened
from postfix_mta_sts.cli.parser import NO_POLICY, OK, CommandError
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.store.fleet.engine import DOCUMENT, Engine, Kind, Name
from postfix_mta_sts.store.fleet.errors import FleetError
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.store.fleet.unexpected import failing_as_store
from postfix_mta_sts.values import Value

SECONDS: Final = 10.0
"""In which it must be done."""
_WORDS: Final = {Kind.POLICY: "policy", Kind.HISTORY: "history", Kind.CHECK: "last check"}
"""What is kept of a domain."""


class _Purged(Value, frozen=True):
    """What is to be removed."""

    what: str
    words: Mapping[Name, str]
    advice: str


def purge(args: argparse.Namespace, connect: Connect = opened) -> int:
    """Remove it, and say what there was."""
    wanted = _exceptions() if args.exceptions else _of_domain(args.domain)
    settings = fleet_settings(args)
    try:
        removed = asyncio.run(_remove(settings, wanted.words, connect))
    except (FleetError, TimeoutError) as error:
        reason = printable(str(error)) or f"no answer within {SECONDS:g} s"
        raise CommandError(f"{settings.location.shown}: {reason}; fleet check has more") from error
    if not removed:
        print(f"{wanted.what}: the shared store has nothing of it; {wanted.advice}")
        return NO_POLICY
    there = ", ".join(word for name, word in wanted.words.items() if name in removed)
    print(f"{wanted.what}: removed from the shared store: {there}; {wanted.advice}")
    return OK


def _of_domain(text: str) -> _Purged:
    """Everything of a domain."""
    domain = domain_of(text)
    advice = "each relay keeps its own copy: policy forget DOMAIN, on the relay, removes that"
    return _Purged(domain, {Name(kind, domain): word for kind, word in _WORDS.items()}, advice)


def _exceptions() -> _Purged:
    advice = "each relay keeps those that it has, and gives them to the store again within seconds"
    return _Purged("exceptions", {DOCUMENT: "all that relays share"}, advice)


async def _remove(
    settings: SharedStoreSettings, names: Collection[Name], connect: Connect
) -> Collection[Name]:
    """Remove records; return the names of those that there were."""
    with failing_as_store():
        async with asyncio.timeout(SECONDS):
            return await _removed(await connect(settings), [*names])


async def _removed(engine: Engine, names: Sequence[Name]) -> Collection[Name]:
    """Remove records, and close the engine; return which there were."""
    try:
        there = (await engine.read(names)).records
        await engine.remove(names)
    finally:
        await engine.close()
    return there.keys()
