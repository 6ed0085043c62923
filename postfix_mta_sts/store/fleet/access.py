"""Calls of the shared store that end in time: opened on first use, and left alone if it fails.

`gates` decides which calls pass.

A distant store answers a few hundred calls a second, as each takes one of a few connections. So
calls that no look-up waits for leave half of them free, and what waits for a connection in vain
says nothing of the store.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeAlias, TypeVar

from postfix_mta_sts.config.store_location import EngineName
from postfix_mta_sts.store.fleet.connections import CONNECTIONS
from postfix_mta_sts.store.fleet.engine import Engine
from postfix_mta_sts.store.fleet.errors import BusyError, FleetError, LateError, NotReachedError
from postfix_mta_sts.store.fleet.gates import CallKind, Gates
from postfix_mta_sts.store.fleet.requests import StoreCondition
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.store.fleet.unexpected import failing_as_store

OPENING_LIMIT: Final = 5.0
"""Seconds of a connection with TLS to a distant store. No request waits for its end."""
BACKGROUND_LIMIT: Final = 1.0
"""Seconds of a call that no look-up waits for, if the budget is not longer."""
QUEUE_LIMIT: Final = 5.0
"""Seconds for which such a call waits for its turn."""
PLACES: Final = {EngineName.REDIS: CONNECTIONS[EngineName.REDIS], EngineName.POSTGRESQL: 100}
"""Calls at the same time: as many as Redis has connections; as many as two statements of PostgreSQL
have rows (`postgresql.batches`): with fewer, what waits here would not become one statement."""
CLOSING_LIMIT: Final = 1.0
"""Seconds."""

T = TypeVar("T")
OpenEngine: TypeAlias = Callable[[SharedStoreSettings], Awaitable[Engine]]
"""Connects to a store. Raises `FleetError`."""


class StoreAccess:
    """The way to one store; `close` comes last."""

    def __init__(
        self, settings: SharedStoreSettings, open_engine: OpenEngine, monotonic: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._open_engine = open_engine
        self._opening: asyncio.Task[Engine] | None = None
        self._was_opened = False
        """Whether an opening has ended, well or badly."""
        self._is_closed = False
        places = PLACES[settings.location.engine]
        self._places = asyncio.Semaphore(places)
        self._background_places = asyncio.Semaphore(places // 2)
        self._gates = Gates(settings.budget, monotonic)

    @property
    def condition(self) -> StoreCondition:
        """Whether the store works, as far as is known."""
        return self._gates.condition

    def start(self) -> None:
        """Connect behind everything else, so that no look-up waits for that."""
        self._open()

    async def first_connection(self) -> None:
        """Wait until the connection that `start` began to open stands, or has failed."""
        if self._opening and not self._was_opened:
            await asyncio.wait([self._opening])

    async def read(self, limit: float | None, call: Callable[[Engine], Awaitable[T]]) -> T:
        """Make a call that changes nothing, in at most `limit` seconds. Raises `FleetError`.

        `limit` None: no look-up waits for it, and it waits for its turn.
        """
        return await self._in_turn(CallKind(is_look=limit is not None, is_write=False), limit, call)

    async def write(self, limit: float | None, call: Callable[[Engine], Awaitable[T]]) -> T:
        """Make a call that changes something; see `read`."""
        return await self._in_turn(CallKind(is_look=limit is not None, is_write=True), limit, call)

    async def close(self) -> None:
        """Close the connections; a call afterwards fails."""
        opening, self._opening = self._opening, None
        self._is_closed = True
        if opening is None:
            return
        if not opening.done():
            opening.cancel()
            await asyncio.wait([opening])
        elif not opening.cancelled() and not opening.exception():
            await _close(opening.result())

    async def _in_turn(
        self, kind: CallKind, limit: float | None, call: Callable[[Engine], Awaitable[T]]
    ) -> T:
        """Make a call; one that no look-up waits for, when it is its turn."""
        if limit is not None:
            return await self._reported(kind, limit, call)
        try:
            async with asyncio.timeout(QUEUE_LIMIT):
                await self._background_places.acquire()
        except TimeoutError:
            raise BusyError(f"no turn within {QUEUE_LIMIT:g} s") from None
        try:
            limit = max(self._settings.budget, BACKGROUND_LIMIT)
            return await self._reported(kind, limit, call)
        finally:
            self._background_places.release()

    async def _reported(
        self, kind: CallKind, limit: float, call: Callable[[Engine], Awaitable[T]]
    ) -> T:
        """Make a call if the gates admit it, and report its end to them."""
        admitted = self._gates.admit(kind)
        try:
            result = await self._in_time(limit, call)
        except FleetError as error:
            if self._is_closed:  # that says nothing of the store
                self._gates.gave_up(admitted)
            else:
                self._gates.failed(admitted, error)
            raise
        except BaseException:
            self._gates.gave_up(admitted)
            raise
        self._gates.succeeded(admitted)
        return result

    async def _in_time(self, limit: float, call: Callable[[Engine], Awaitable[T]]) -> T:
        left = limit
        try:
            async with asyncio.timeout(limit) as scope:
                engine = await asyncio.shield(self._open())
                end, left = scope.when() or 0.0, 0.0
                async with self._places:
                    left = end - asyncio.get_running_loop().time()
                    with failing_as_store():
                        return await call(engine)
        except TimeoutError:
            # The first connection may take longer than a look-up has: the store is not to blame.
            is_short = left < self._settings.budget / 2 or not self._was_opened
            kind = BusyError if is_short else LateError
            raise kind(f"no answer within {limit:.3g} s") from None

    def _open(self) -> asyncio.Task[Engine]:
        """The opening, which goes on if a call does not wait for its end."""
        if self._is_closed:
            raise NotReachedError("this relay is stopping")
        if self._opening is None:
            self._opening = asyncio.create_task(self._opened(), name="opening of the shared store")
            self._opening.add_done_callback(self._end_opening)
        return self._opening

    async def _opened(self) -> Engine:
        """The engine, with the first connection, which may take longer than a look-up waits."""
        try:
            with failing_as_store():
                async with asyncio.timeout(OPENING_LIMIT):
                    return await self._connected()
        except TimeoutError:
            raise NotReachedError(f"no connection within {OPENING_LIMIT:g} s") from None

    async def _connected(self) -> Engine:
        """The engine, after a read that worked."""
        engine = await self._open_engine(self._settings)
        try:
            await engine.read([])
        except BaseException:
            await _close(engine)
            raise
        return engine

    def _end_opening(self, opening: asyncio.Task[Engine]) -> None:
        """After a failure let the next call try again; the calls that wait have the error."""
        self._was_opened = True
        if opening.cancelled() or opening.exception():
            self._opening = None


async def _close(engine: Engine) -> None:
    """Close the connections, as far as the store lets that be done in time."""
    with suppress(FleetError, TimeoutError), failing_as_store():
        async with asyncio.timeout(CLOSING_LIMIT):
            await engine.close()
