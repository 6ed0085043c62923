"""Shares of the attempts under way: one client cannot take the room of the others.

Pure: `Shares` counts which client asked for which attempt, and names the attempts that end for a
new one; the caller ends them. An attempt that several clients asked for is counted for each of
them, and ends when the last of them has given it up. Each operation takes constant time on average.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Iterable, MutableMapping
from typing import Any, Final, Generic, TypeVar

from postfix_mta_sts.values import Value

CONNECTION_LIMIT: Final = 2
"""Attempts of one connection: Postfix waits for one at a time, and one may run behind the reply."""
QUOTA: Final = 4
"""An owner with a quota has at most one part in this many of all attempts."""

A = TypeVar("A", bound=Hashable)
K = TypeVar("K", bound=Hashable)
G = TypeVar("G", bound=MutableMapping[Any, None])


class Owner(Value, frozen=True):
    """The user or address that runs a client; all its connections together have one share."""

    name: str
    """As the log shows it: a user id or an address."""
    has_quota: bool = False
    """Whether it may have only a part of the attempts even if nobody else needs the rest."""


class Client(Value, frozen=True):
    """One connection, and its owner."""

    owner: Owner
    connection: int | None = None
    """A number that no other connection ever has; None: not a connection, so without its limit."""


DAEMON: Final = Client(Owner("daemon"))
"""The daemon itself, for rechecks and renewals."""


class Ranking(Generic[K]):
    """Counts things of owners, and knows which owner has most."""

    def __init__(self) -> None:
        self._counts: dict[K, int] = {}
        # By count; no entry is empty.
        self._owners: defaultdict[int, OrderedDict[K, None]] = defaultdict(OrderedDict)
        self._most = 0

    def __getitem__(self, owner: K) -> int:
        return self._counts.get(owner, 0)

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, owner: K, number: int) -> None:
        """Count one more, or with `number` -1 one less."""
        before = self._counts.pop(owner, 0)
        if before:
            _discard(self._owners, before, owner)
        if count := before + number:
            self._counts[owner] = count
            self._owners[count][owner] = None
        # Counts change by one, so the owner that had most still has the next lower count.
        if count > self._most or self._most not in self._owners:
            self._most = count

    def first(self, preferred: K) -> K | None:
        """The owner with most, `preferred` if it is among several; None: there is no owner."""
        owners = self._owners.get(self._most)
        if owners is None:
            return None
        return preferred if preferred in owners else next(iter(owners))


class Shares(Generic[A]):
    """The attempts under way, and the clients that asked for them.

    `limit`: attempts at once. `A` is the key of an attempt, such as its domain.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._quota = max(1, limit // QUOTA)
        self._clients: dict[A, dict[Owner, dict[Client, None]]] = {}
        self._of_connection: dict[int, dict[A, None]] = {}  # the oldest first
        # The oldest first.
        self._of_owner: defaultdict[Owner, OrderedDict[A, None]] = defaultdict(OrderedDict)
        self._ranking = Ranking[Owner]()

    def __len__(self) -> int:
        return len(self._clients)

    def count(self, owner: Owner) -> int:
        """The attempts that an owner has."""
        return self._ranking[owner]

    def has_most(self, owner: Owner) -> bool:
        """Whether no other owner has more attempts."""
        return self._ranking.first(owner) == owner

    def ask(self, attempt: A, client: Client) -> list[A]:
        """Add a client to an attempt, which starts if it is not under way.

        Returns the attempts that end for it: the oldest of a connection that had
        `CONNECTION_LIMIT`, the oldest of an owner that had its quota, and at the limit the oldest
        of the owner that has most.
        """
        if client in self._clients.get(attempt, {}).get(client.owner, ()):
            return []
        ended = self._make_room_for_connection(client)
        if client.owner.has_quota:
            ended += self._make_room_for_owner(attempt, client.owner)
        if len(self._clients) >= self._limit and attempt not in self._clients:
            ended += self._make_room_for_attempt(client.owner)
        self._add(attempt, client)
        return ended

    def end(self, attempt: A) -> None:
        """Remove an attempt that has ended; nothing happens if it is not there."""
        for owner, clients in self._clients.pop(attempt, {}).items():
            self._forget(attempt, owner, clients)

    def leave(self, client: Client) -> None:
        """Remove a connection that is closed; attempts that nobody else asked for stay its owner's.

        So what is kept is bounded by the number of connections and attempts.
        """
        if client.connection is None:
            return
        for attempt in list(self._of_connection.get(client.connection, ())):
            owners = self._clients[attempt]
            if len(owners) == 1 and len(owners[client.owner]) == 1:
                self._add(attempt, Client(client.owner))
            self._remove(attempt, client)

    def _make_room_for_connection(self, client: Client) -> list[A]:
        attempts = client.connection and self._of_connection.get(client.connection)
        if not attempts or len(attempts) < CONNECTION_LIMIT:
            return []
        return self._remove(next(iter(attempts)), client)

    def _make_room_for_owner(self, attempt: A, owner: Owner) -> list[A]:
        if self._ranking[owner] < self._quota:
            return []
        attempts = self._of_owner[owner]
        return [] if attempt in attempts else self._release(next(iter(attempts)), owner)

    def _make_room_for_attempt(self, asking: Owner) -> list[A]:
        ended: list[A] = []
        # An attempt that others asked for, too, goes on for them: then it made no room.
        while len(self._clients) >= self._limit and (owner := self._ranking.first(asking)):
            ended += self._release(next(iter(self._of_owner[owner])), owner)
        return ended

    def _release(self, attempt: A, owner: Owner) -> list[A]:
        """Remove all clients of an owner from an attempt; return it if it ends by that."""
        owners = self._clients[attempt]
        self._forget(attempt, owner, owners.pop(owner))
        if owners:
            return []
        del self._clients[attempt]
        return [attempt]

    def _remove(self, attempt: A, client: Client) -> list[A]:
        """Remove one client from an attempt; return it if it ends by that."""
        clients = self._clients[attempt][client.owner]
        if len(clients) == 1:
            return self._release(attempt, client.owner)
        del clients[client]
        self._disconnect(attempt, client)
        return []

    def _forget(self, attempt: A, owner: Owner, clients: Iterable[Client]) -> None:
        """Count an attempt no more for an owner and these clients, all that it has there."""
        for client in clients:
            self._disconnect(attempt, client)
        _discard(self._of_owner, owner, attempt)
        self._ranking.add(owner, -1)

    def _disconnect(self, attempt: A, client: Client) -> None:
        if client.connection is not None:
            _discard(self._of_connection, client.connection, attempt)

    def _add(self, attempt: A, client: Client) -> None:
        owners = self._clients.setdefault(attempt, {})
        if client.owner not in owners:
            self._of_owner[client.owner][attempt] = None
            self._ranking.add(client.owner, 1)
        owners.setdefault(client.owner, {})[client] = None
        if client.connection is not None:
            self._of_connection.setdefault(client.connection, {})[attempt] = None


def _discard(groups: MutableMapping[K, G], key: K, member: object) -> None:
    """Remove a member of a group, and the group with its last member."""
    group = groups[key]
    del group[member]
    if not group:
        del groups[key]
