"""One server of Redis or Valkey, and the connections to it."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.store_location import EngineName
from postfix_mta_sts.store.fleet.connections import CONNECTIONS, Connections
from postfix_mta_sts.store.fleet.redis.wire import Command, Login, Reply, Wire, open_wire


class RedisServer:
    """One server; call `close` last."""

    def __init__(self, address: TcpAddress | UnixAddress, how: Login) -> None:
        self.address: Final = address
        self._connections: Connections[Wire] = Connections(
            partial(open_wire, address, how), CONNECTIONS[EngineName.REDIS]
        )

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands in one go; return the replies in their order. Raises `FleetError`."""
        async with self._connections.lent() as wire:
            return await wire.exchange(commands)

    async def connect(self) -> None:
        """Have a connection, for the next call. Raises `FleetError`."""
        async with self._connections.lent():
            pass

    def close(self) -> None:
        """Close the connections; those in use are closed when they have their replies."""
        self._connections.retire()
