"""Follows a Redis Cluster to the node that has a key: the first node names it (MOVED).

No map of the slots is kept. A command for another node costs one more round trip, and none goes to
a node that has lost the slot.
"""

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from postfix_mta_sts.config.address import TcpAddress, UnixAddress, parse_address
from postfix_mta_sts.store.fleet.errors import FleetError
from postfix_mta_sts.store.fleet.redis.refusals import Refusal
from postfix_mta_sts.store.fleet.redis.server import RedisServer
from postfix_mta_sts.store.fleet.redis.wire import Command, Login, Reply

MOST: Final = 64
"""Nodes to which there are connections. The addresses of a Cluster change as its nodes restart."""
_MOVED: Final = re.compile(r"MOVED [0-9]{1,5} ([!-~]{0,255}):([0-9]{1,5})")

Address: TypeAlias = TcpAddress | UnixAddress


class Nodes:
    """The nodes of a Cluster that the first has named; none, if it is no Cluster."""

    def __init__(self, how: Login, most: int = MOST) -> None:
        self._how = how
        self._most = most
        self._servers: dict[Address, RedisServer] = {}

    async def follow(
        self, commands: Sequence[Command], replies: Sequence[Reply], first: Address
    ) -> list[Reply]:
        """Return the replies, those of other nodes in the place of MOVED. Raises `FleetError`."""
        moved: dict[Address, list[int]] = {}
        for number, reply in enumerate(replies):
            if address := moved_to(reply, first):
                moved.setdefault(address, []).append(number)
        found = list(replies)
        for address, numbers in moved.items():
            answers = await self._ask(address, [commands[each] for each in numbers])
            for number, answer in zip(numbers, answers, strict=True):
                found[number] = answer
        return found

    def close(self) -> None:
        """Close the connections."""
        while self._servers:
            _, server = self._servers.popitem()
            server.close()

    async def _ask(self, address: Address, commands: Sequence[Command]) -> list[Reply]:
        server = self._server(address)
        try:
            return await server.ask(commands)
        except FleetError:  # not if a caller was cancelled: its connection is opened to the end
            if self._servers.get(address) is server:
                del self._servers[address]
            server.close()
            raise

    def _server(self, address: Address) -> RedisServer:
        """Return the connections to a node, and close those that were not used for longest."""
        server = self._servers.pop(address, None) or RedisServer(address, self._how)
        self._servers[address] = server
        if len(self._servers) > self._most:
            longest_unused = next(iter(self._servers))
            self._servers.pop(longest_unused).close()
        return server


def address_of(host: str, port: str) -> Address:
    """Return the address that a server names. Raises `ValueError`."""
    return parse_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def moved_to(reply: Reply, first: Address) -> Address | None:
    """Return the address of the node that has a key; without a host it is that of the first."""
    match = _MOVED.fullmatch(reply.text[:300]) if isinstance(reply, Refusal) else None
    if not match:
        return None
    host = match[1]
    if not host and isinstance(first, TcpAddress):
        host = first.host
    try:
        return address_of(host, match[2])
    except ValueError:
        return None
