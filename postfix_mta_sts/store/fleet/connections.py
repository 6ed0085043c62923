"""A few connections to a shared store, lent one call at a time.

The pool of a client library is not used: it keeps a caller that was cancelled until the server has
acknowledged that, so that a server that hangs would cost more than the caller's time limit. Here a
connection on which anything failed is closed at once, without a word to the server.

A connection is opened beside the caller: one whose time is over leaves an opening behind that goes
on, and that the next caller finds done. With TLS and a password an opening takes eight round trips,
which on a long way is more than a look-up may spend.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Generic, Protocol, TypeVar, cast

from postfix_mta_sts.config.store_location import EngineName
from postfix_mta_sts.store.fleet.breaker import LONGEST_PAUSE
from postfix_mta_sts.store.fleet.errors import FleetError, NotReachedError

CONNECTIONS: Final = {EngineName.REDIS: 16, EngineName.POSTGRESQL: 4}
"""From one relay to one server. Redis carries out the calls of each one after the other, and takes
10,000 connections by default; PostgreSQL has 100 for a whole fleet, and a process for each."""
IDLE_LIMIT: Final = 1.5 * LONGEST_PAUSE
"""Seconds after which a connection is not lent again: firewalls forget those that are idle. The
next call that ends closes it. What the probe of a distant store has opened too late for itself, the
next probe finds."""


class Connection(Protocol):
    """What the pool needs of a connection."""

    def is_closed(self) -> bool:
        """Whether it has ended."""

    def terminate(self) -> None:
        """End it without waiting."""


_C = TypeVar("_C", bound=Connection)


class Connections(Generic[_C]):
    """At most `limit` connections, opened when they are needed; call `close` last."""

    def __init__(
        self,
        open_one: Callable[[], Awaitable[_C]],
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`open_one` opens a connection, raises `FleetError`, and has a time limit of its own."""
        self._open_one = open_one
        self._limit = limit
        self._clock = clock
        self._idle: deque[tuple[float, _C]] = deque()
        self._lent: set[_C] = set()
        self._openings: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[_C]] = deque()
        self._is_closed = False

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[_C]:
        """Lend a connection. Raises `FleetError` if none can be opened.

        If the block ends with an exception, also if it is cancelled, this connection and the idle
        ones are closed: they lead to the same server.
        """
        connection = await self._take()
        try:
            yield connection
        except BaseException:
            connection.terminate()
            self._drop_idle()
            raise
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """Close all connections and end all waiting."""
        self.retire()
        for connection in self._lent:
            connection.terminate()

    def retire(self) -> None:
        """End all waiting, and close each connection as soon as it is not in use."""
        self._is_closed = True
        self._drop_idle()
        for opening in self._openings:
            opening.cancel()
        self._fail_waiting(NotReachedError("the connections are closed"))

    async def _take(self) -> _C:
        if self._is_closed:
            raise NotReachedError("the connections are closed")
        while self._idle:
            since, connection = self._idle.pop()
            if not connection.is_closed() and self._clock() - since < IDLE_LIMIT:
                self._lent.add(connection)
                return connection
            connection.terminate()
        return await self._wait()

    async def _wait(self) -> _C:
        waiting: asyncio.Future[_C] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._open_missing()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and not waiting.exception():
                self._give_back(waiting.result())
            raise
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def _open_missing(self) -> None:
        """Start as many openings as calls wait, within the limit."""
        while (
            len(self._openings) < len(self._waiting)
            and len(self._openings) + len(self._lent) + len(self._idle) < self._limit
        ):
            self._openings.add(asyncio.get_running_loop().create_task(self._open()))

    async def _open(self) -> None:
        connection, fault = None, None
        try:
            connection = await self._open_one()
        except FleetError as error:
            fault = error
        except Exception as error:  # noqa: BLE001 (the top of a task)
            fault = NotReachedError(f"the store sends what is no protocol: {type(error).__name__}")
        # Before a call that waits can ask for another.
        self._openings.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if connection is not None:
            self._give_back(connection)
        elif fault and not self._lent and not self._openings:
            self._fail_waiting(fault)  # otherwise there is a connection to wait for

    def _give_back(self, connection: _C) -> None:
        """Lend a connection to the call that waits longest, or keep it."""
        self._lent.discard(connection)
        if self._is_closed or connection.is_closed():
            connection.terminate()
        elif (waiting := self._next_waiting()) is not None:
            self._lent.add(connection)
            waiting.set_result(connection)
            return
        else:
            self._idle.append((self._clock(), connection))
            self._drop_unused()
        if not self._is_closed:
            self._open_missing()

    def _next_waiting(self) -> asyncio.Future[_C] | None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                return waiting
        return None

    def _fail_waiting(self, error: FleetError) -> None:
        while (waiting := self._next_waiting()) is not None:
            waiting.set_exception(error)

    def _drop_unused(self) -> None:
        """Close what a burst has left: the last that was used is the next that is lent."""
        while self._clock() - self._idle[0][0] >= IDLE_LIMIT:
            self._idle.popleft()[1].terminate()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop()[1].terminate()
