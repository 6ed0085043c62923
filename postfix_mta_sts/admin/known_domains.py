"""The domains of which the daemon knows something, page by page: on file, or failing in memory.

The list of stored policies is never held as a whole, and Postfix is answered meanwhile.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from heapq import merge
from operator import itemgetter
from typing import Final, TypeAlias

from postfix_mta_sts.admin import serialize
from postfix_mta_sts.admin.serialize import PolicyFilter
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.resolver.cache import SLICE
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.store import Row, RowFilter, Store

PAGE: Final = 50
"""Rows read from the store at once. A look-up may have to wait while their policies are parsed."""
_DOMAIN: Final = itemgetter(0)

Known: TypeAlias = tuple[Domain, Row | None, State | None]
"""A domain, what is on file, and the state in memory if that is failing."""


async def known_domains(
    resolver: Resolver, store: Store, wanted: PolicyFilter, now: float
) -> AsyncGenerator[Known]:
    """Merge the stored rows that fit with the failing states in memory, both ordered by domain."""
    failing = await _failing(resolver)
    other = next(failing, None)
    async with aclosing(_rows(store, wanted, now)) as rows:
        async for row in rows:
            while other and other[0] < row.domain:
                yield other[0], None, other[1]
                other = next(failing, None)
            same = other if other and other[0] == row.domain else None
            yield row.domain, row, same[1] if same else None
            if same:
                other = next(failing, None)
    while other:
        yield other[0], None, other[1]
        other = next(failing, None)


async def _failing(resolver: Resolver) -> Iterator[tuple[Domain, State]]:
    """The failing states in memory by domain: other tasks run while they are sorted."""
    states = await resolver.states(serialize.fails)
    parts = []
    for start in range(0, len(states), SLICE):
        parts.append(sorted(states[start : start + SLICE], key=_DOMAIN))
        await asyncio.sleep(0)
    return merge(*parts, key=_DOMAIN)


async def _rows(store: Store, wanted: PolicyFilter, now: float) -> AsyncGenerator[Row]:
    before = None if wanted.expiring_in is None else now + wanted.expiring_in
    since = None if wanted.asked_within is None else now - wanted.asked_within
    query = RowFilter(now, wanted.mode, before, since)
    last: Domain | None = None
    while rows := await store.page(query, last, PAGE):
        last = rows[-1].domain
        for row in rows:
            yield row
