"""Relays of a Redis or a Valkey: engines with the rights of the documentation, and no more."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.store_location import EngineName, StoreLocation
from postfix_mta_sts.store.fleet.engine import Engine
from postfix_mta_sts.store.fleet.opening import open_engine
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from tests.fleet.redis_servers import HOST, PREFIX, RELAY, RELAY_PASSWORD, RedisServer

SHOWN: Final = "redis://mta_sts@store/0"


def relay(
    *ports: int,
    socket: Path | None = None,
    user: str = RELAY,
    password: str = RELAY_PASSWORD,
    database: int = 0,
    authorities: str | None = None,
    sentinel: str | None = None,
) -> Engine:
    """An engine for the server, or for the Sentinels, at these ports."""
    location = StoreLocation(
        engine=EngineName.REDIS,
        addresses=tuple(TcpAddress(HOST, port) for port in ports),
        path=str(socket) if socket else None,
        database=str(database),
        user=user,
        password=password,
        tls=authorities is not None,
        sentinel=sentinel,
        shown=SHOWN,
    )
    return open_engine(
        SharedStoreSettings(
            location=location,
            name="relay-1",
            prefix=PREFIX,
            budget=0.25,
            keyring=None,
            authorities=authorities,
        )
    )


class RedisUnderTest:
    """A server without keys and its relays; see `StoreUnderTest`."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._engines: list[Engine] = []

    async def __aenter__(self) -> Self:
        self._server.admin("FLUSHALL")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for each in self._engines:
            await each.close()

    async def open(self) -> Engine:
        """Connect one more relay."""
        self._engines.append(relay(self._server.port))
        return self._engines[-1]

    async def pass_time(self, seconds: float) -> None:
        """Let the clock of the store go on."""
        await asyncio.sleep(seconds)
