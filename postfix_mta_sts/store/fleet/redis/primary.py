"""Finds the server that takes writes, by Sentinels or because there is one, and talks to it.

After any failure the server is looked for again: a primary that hangs is no longer one when the
Sentinels have chosen another, and does not say so. That is done beside the callers: to ask a
distant Sentinel for it, and to connect to it, takes longer than any of them has.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from postfix_mta_sts.config.address import UnixAddress
from postfix_mta_sts.config.store_location import StoreLocation
from postfix_mta_sts.store.fleet.errors import (
    CannotServeError,
    DeniedError,
    FleetError,
    NotReachedError,
)
from postfix_mta_sts.store.fleet.redis.nodes import Address, Nodes, address_of
from postfix_mta_sts.store.fleet.redis.refusals import Refusal
from postfix_mta_sts.store.fleet.redis.server import RedisServer
from postfix_mta_sts.store.fleet.redis.wire import Command, Login, Reply

FINDING_LIMIT: Final = 5.0
"""Seconds until Sentinels have named a primary, and it is connected to. A call waits for that as
long as it may."""
OTHER_SENTINELS: Final = 0.1
"""Seconds that the other Sentinels have, if the first names the server that has just failed."""
_NO_SENTINEL: Final = "write the ports of the Sentinels, or without them redis:// or rediss://"


class Primary:
    """The one server of a location, or the primary that its Sentinels name."""

    def __init__(self, location: StoreLocation, how: Login, limit: float = FINDING_LIMIT) -> None:
        self._location = location
        self._how = how
        self._limit = limit
        self._nodes = Nodes(how)
        self._server: RedisServer | None = None
        self._is_doubted = True
        self._is_closed = False
        self._finding: asyncio.Task[RedisServer] | None = None
        self._want_login: set[Address] = set()
        """The Sentinels that have refused a connection without one: three round trips in vain."""

    @property
    def shown(self) -> str:
        """Where it is, for messages."""
        return str(self._server.address) if self._server else self._location.shown

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands in one go; return the replies in their order. Raises `FleetError`."""
        server = await self._found()
        try:
            replies = await server.ask(commands)
        except BaseException:  # a time limit cancels this: the server hangs
            self._doubt(server)
            raise
        if any(isinstance(each, Refusal) and each.is_of_former_primary for each in replies):
            self._doubt(server)
        return await self._nodes.follow(commands, replies, server.address)

    async def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        if self._finding:
            self._finding.cancel()
            await asyncio.wait([self._finding])
        self._nodes.close()
        if self._server:
            self._server.close()

    async def _found(self) -> RedisServer:
        """Return the server; look for it if it is doubted, whether or not the call has the time."""
        if self._server and not self._is_doubted:
            return self._server
        if self._is_closed:
            raise NotReachedError(f"{self.shown}: closed")
        if self._finding is None:
            self._finding = asyncio.create_task(self._find(), name="finding of the Redis primary")
            self._finding.add_done_callback(self._forget_finding)
        finding = self._finding
        await asyncio.wait([finding])
        if finding.cancelled():
            raise NotReachedError(f"{self.shown}: closed")
        return finding.result()

    def _forget_finding(self, finding: "asyncio.Task[RedisServer]") -> None:
        self._finding = None
        if not finding.cancelled():
            finding.exception()  # the calls that waited for it may be over

    async def _find(self) -> RedisServer:
        try:
            async with asyncio.timeout(self._limit):
                server = self._server_at(await self._address())
                if self._location.sentinel:  # otherwise nothing is gained by waiting for it here
                    await server.connect()
        except TimeoutError:
            said = f"{self._location.shown}: no primary was found within {self._limit:g} s"
            raise NotReachedError(said) from None
        self._is_doubted = False
        return server

    def _server_at(self, address: Address) -> RedisServer:
        """Return the connections to the server, those that there are if it is the same."""
        former = self._server
        if former and former.address == address:
            return former
        self._server = server = RedisServer(address, self._how)
        if former:
            former.close()
        return server

    def _doubt(self, server: RedisServer) -> None:
        """Ask the Sentinels before the next call."""
        self._is_doubted = self._is_doubted or server is self._server

    async def _address(self) -> Address:
        if self._location.path:
            return UnixAddress(Path(self._location.path))
        name = self._location.sentinel
        if not name:
            return self._location.addresses[0]
        asked = [self._named_by(each, name) for each in self._location.addresses]
        doubted = self._server.address if self._server else None
        return await _first_other([asyncio.create_task(each) for each in asked], doubted)

    async def _named_by(self, sentinel: Address, name: str) -> Address | FleetError:
        """Return the primary that a Sentinel names, or why it names none.

        The user and the password are those of the servers; a Sentinel that wants some gets them.
        """
        with_login = replace(self._how, database=0)
        without = replace(with_login, user=None, password=None)
        refused = Refusal("")
        for how in (with_login,) if sentinel in self._want_login else (without, with_login):
            server = RedisServer(sentinel, how)
            try:
                (reply,) = await server.ask([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)])
            except FleetError as error:
                if isinstance(error, DeniedError):
                    self._want_login.discard(sentinel)
                return error
            finally:
                server.close()
            if not isinstance(reply, Refusal):
                return _address_in(reply, f"Sentinel {sentinel}", name)
            if reply.is_of_no_sentinel:
                return DeniedError(f"{sentinel}: it is no Sentinel", _NO_SENTINEL)
            refused = reply
            self._want_login.add(sentinel)
        return refused.meaning(f"Sentinel {sentinel}")


async def _first_other(
    asked: Sequence["asyncio.Task[Address | FleetError]"], doubted: Address | None
) -> Address:
    """Return the first address that is named, if possible not the one that has just failed.

    A Sentinel that was cut off, or has not heard of the new primary yet, names the old one.
    """
    named: Address | None = None
    reasons: list[FleetError] = []
    waiting = set(asked)
    try:
        while waiting:
            patience = OTHER_SENTINELS if named else None
            done, waiting = await asyncio.wait(
                waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for each in done:
                answer = each.result()
                if isinstance(answer, FleetError):
                    reasons.append(answer)
                elif answer != doubted:
                    return answer
                else:
                    named = answer
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    if named:
        return named
    raise _worst(reasons)


def _worst(reasons: Sequence[FleetError]) -> FleetError:
    """The error that says most: one of a Sentinel that has answered, if one has."""
    answered = [each for each in reasons if not isinstance(each, NotReachedError)]
    return (answered or list(reasons))[0]


def _address_in(reply: Reply, sentinel: str, name: str) -> Address | FleetError:
    if reply is None:
        mend = "write the name into fleet.url that `sentinel monitor` gives the primary"
        return CannotServeError(f"{sentinel}: it knows no primary '{name}'", mend)
    try:
        host, port = (each.decode("ascii") for each in reply)
        return address_of(host, port)
    except (ValueError, TypeError, AttributeError):
        return CannotServeError(f"{sentinel}: it names a primary without an address")
