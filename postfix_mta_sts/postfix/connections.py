"""The connected clients: their number, what is kept for them, and which is closed for another.

At the limit of connections the owner with most loses one. The limit of kept bytes is shared by all
connections: Postfix sends one request at a time and reads its reply, so only a client that floods
or does not read comes near an equal share of it.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

from postfix_mta_sts.resolver.fairness import Client, Owner, Ranking

KEPT_LIMIT: Final = 16 << 20
"""Bytes of unanswered requests and unread replies of all connections; twice as much at most."""


class Connection(Protocol):
    """What this module knows of a connection."""

    @property
    def client(self) -> Client:
        """Its connection and its owner."""

    def abort(self) -> None:
        """Close it now."""


C = TypeVar("C", bound=Connection)


class Connections(Generic[C]):
    """All connections of a server; `limit`: how many. Every operation takes constant time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._all: dict[C, int] = {}  # with the bytes that are kept for it
        self._kept = 0
        self._of_owner: dict[Owner, OrderedDict[C, None]] = {}
        # The longest idle first.
        self._expendable: defaultdict[Owner, OrderedDict[C, None]] = defaultdict(OrderedDict)
        self._ranking = Ranking[Owner]()
        self._removed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[C]:
        return iter(list(self._all))

    def add(self, connection: C) -> C | None:
        """Add a new connection; return the one to close for it, which may be itself."""
        surplus = self._surplus(connection) if len(self._all) >= self._limit else None
        if surplus is not None and surplus is not connection:
            self.remove(surplus)
        if surplus is not connection:
            self._all[connection] = 0
            owner = connection.client.owner
            self._of_owner.setdefault(owner, OrderedDict())[connection] = None
            self._ranking.add(owner, 1)
        return surplus

    def remove(self, connection: C) -> None:
        """Remove a closed connection; nothing happens if it is not there."""
        if connection not in self._all:
            return
        self.keep(connection, 0)
        self.set_expendable(connection, is_expendable=False)
        del self._all[connection]
        owner = connection.client.owner
        _discard(self._of_owner, owner, connection)
        self._ranking.add(owner, -1)
        self._removed.set()

    def set_expendable(self, connection: C, *, is_expendable: bool) -> None:
        """Note whether a connection may be closed for another one."""
        owner = connection.client.owner
        if not is_expendable:
            _discard(self._expendable, owner, connection)
        elif connection in self._all:
            self._expendable[owner].setdefault(connection)

    def keep(self, connection: C, number: int) -> bool:
        """Note how many bytes are kept for a connection; False: it must be closed.

        That is so if all keep too many, and this one more than an equal share.
        """
        before = self._all.get(connection)
        if before is None or before == number:
            return True
        self._all[connection] = number
        self._kept += number - before
        is_growing = number > before
        return not (is_growing and self._kept > KEPT_LIMIT and number * len(self._all) > KEPT_LIMIT)

    async def wait_until_empty(self) -> None:
        """Return when there is no connection."""
        while self._all:
            self._removed.clear()
            await self._removed.wait()

    def _surplus(self, newcomer: C) -> C:
        """The oldest expendable connection of the owner with most.

        If it has none, its oldest, unless it is the newcomer's owner: then the newcomer.
        """
        owner = self._ranking.first(newcomer.client.owner)
        if owner is None:
            return newcomer
        if expendable := self._expendable.get(owner):
            return next(iter(expendable))
        return newcomer if owner == newcomer.client.owner else next(iter(self._of_owner[owner]))


def _discard(groups: dict[Owner, OrderedDict[C, None]], owner: Owner, member: C) -> None:
    """Remove a member of a group, if it is there, and the group with its last member."""
    if group := groups.get(owner):
        group.pop(member, None)
        if not group:
            del groups[owner]
