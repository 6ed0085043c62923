"""Relays of a PostgreSQL: engines with the rights of the documentation, and no more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self

from postfix_mta_sts.store.fleet.engine import Engine
from postfix_mta_sts.store.fleet.opening import open_engine
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from tests.fleet.postgresql_servers import PostgresqlServer


@asynccontextmanager
async def relay(settings: SharedStoreSettings) -> AsyncIterator[Engine]:
    """Have an engine."""
    engine = open_engine(settings)
    try:
        yield engine
    finally:
        await engine.close()
        await asyncio.sleep(0.02)  # nothing tells when the transports of TLS have ended


class PostgresqlUnderTest:
    """A server without rows and its relays; see `StoreUnderTest`."""

    def __init__(
        self, server: PostgresqlServer, settings: SharedStoreSettings | None = None
    ) -> None:
        """`settings`: of the relays, if they do not connect to the server itself."""
        self._server = server
        self._settings = settings or server.settings()
        self._engines = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._server.empty()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._engines.aclose()

    async def open(self) -> Engine:
        """Connect one more relay."""
        return await self._engines.enter_async_context(relay(self._settings))

    async def pass_time(self, seconds: float) -> None:
        """Let the clock of the store go on."""
        await asyncio.sleep(seconds)
