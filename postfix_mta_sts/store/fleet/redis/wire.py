"""One connection to Redis or Valkey: it is opened, carries pipelines of commands, and ends.

This is the only module that imports redis-py, of which it uses the connections alone: the clients
above them try again, and cost seconds against a server that hangs. `server` keeps connections,
`faults` says what went wrong, `limits` what a reply may be.

Private parts of redis-py: `_reader`, `_writer` and `_close` of its connections; the parser
`_AsyncRESP2Parser`, which has no limits, with `_read`, `_readline` and `_read_response`. And of
asyncio, as redis-py itself does: the `_buffer` of a stream, to see what has arrived.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from redis import exceptions
from redis._parsers import _AsyncRESP2Parser
from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.store.fleet.errors import FleetError, NotReachedError
from postfix_mta_sts.store.fleet.redis.faults import chain, fault_of_opening, reason
from postfix_mta_sts.store.fleet.redis.limits import ReplyLimits
from postfix_mta_sts.store.fleet.redis.refusals import Refusal, login_refused

SILENCE: Final = 5.0
"""Seconds after which a connection is given up; `access` gives up long before."""
OPEN_LIMIT: Final = 5.0
"""Seconds for opening a connection, which goes on when the caller's time is over."""

Command: TypeAlias = Sequence[bytes | str | int]
Reply: TypeAlias = Any
"""bytes, int, None, a list of them; or a `Refusal`."""
_Connection: TypeAlias = Connection | UnixDomainSocketConnection
_OF_THE_SERVER: Final = (exceptions.RedisError, OSError, ValueError)
"""What is raised if the server, or the way to it, is at fault. ValueError: redis-py reads numbers
of a server that does not speak its protocol."""


@dataclass(frozen=True, slots=True)
class Login:
    """How a connection begins."""

    user: str | None
    password: str | None = field(repr=False)
    database: int
    context: ssl.SSLContext | None
    """None: without TLS."""


class Wire:
    """A connection that is open, see `connections.Connection`."""

    def __init__(self, connection: _Connection, address: TcpAddress | UnixAddress) -> None:
        self._connection = connection
        self._address = address
        # After an error redis-py has let go of its streams, and has not closed them yet.
        self._reader: Any = connection._reader  # noqa: SLF001 (see above)
        self._transport: asyncio.WriteTransport = connection._writer.transport  # type: ignore[union-attr]  # noqa: SLF001

    def is_closed(self) -> bool:
        """Whether it has ended, or the server has sent something since its last reply."""
        is_unread = bool(self._reader._buffer)  # noqa: SLF001
        return is_unread or self._reader.at_eof() or self._transport.is_closing()

    def terminate(self) -> None:
        """End it without waiting."""
        self._transport.abort()
        self._connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands in one go; return the replies in their order. Raises `FleetError`."""
        try:
            async with asyncio.timeout(SILENCE):
                packed = self._connection.pack_commands(commands)
                await self._connection.send_packed_command(packed)
                return [await self._reply() for _ in commands]
        except _OF_THE_SERVER as error:
            said = f"{self._address}: {reason(error, _otherwise(error))}"
            raise NotReachedError(said) from error

    async def _reply(self) -> Reply:
        try:
            return await self._connection.read_response(disable_decoding=True)
        except exceptions.ResponseError as error:
            return Refusal(str(error))


async def open_wire(address: TcpAddress | UnixAddress, login: Login) -> Wire:
    """Connect and log in. Raises `FleetError`."""
    connection = _connection(address, login)
    try:
        async with asyncio.timeout(OPEN_LIMIT):
            await connection.connect()  # type: ignore[no-untyped-call]
    except BaseException as error:
        await connection.disconnect(nowait=True)
        if isinstance(error, _OF_THE_SERVER):
            raise _why_not_opened(str(address), error) from error
        raise
    connection.socket_timeout = None  # Python 3.11 loses cancellations of redis-py's `wait_for`
    return Wire(connection, address)


def _connection(address: TcpAddress | UnixAddress, login: Login) -> _Connection:
    how: dict[str, Any] = {
        "username": login.user,
        "password": login.password,
        "db": login.database,
        "socket_timeout": SILENCE,
        "socket_connect_timeout": SILENCE,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # it needs no HELLO, and the server sends nothing unasked
        "parser_class": _Parser,
        "driver_info": None,  # no CLIENT SETINFO, which would be one more right
    }
    if isinstance(address, UnixAddress):
        return UnixDomainSocketConnection(path=str(address.path), **how)
    how |= {"host": address.host, "port": address.port}
    if not login.context:
        return Connection(**how)
    connection = SSLConnection(**how)
    # redis-py's own context would trust the authorities of the system as well.
    connection.ssl_context.context = login.context
    return connection


def _why_not_opened(address: str, error: BaseException) -> FleetError:
    for each in chain(error):
        if isinstance(each, exceptions.ResponseError):
            return login_refused(address, str(each))
    return fault_of_opening(address, error, _otherwise(error))


def _otherwise(error: BaseException) -> str:
    """Say what an error of redis-py means that was raised from no other."""
    if isinstance(error, exceptions.ConnectionError):
        return "the connection was closed"
    return "it does not speak the protocol of Redis"


class _Parser(_AsyncRESP2Parser):
    """Reads replies, within limits; errors keep all of their text."""

    _limits: ReplyLimits

    @classmethod
    def parse_error(cls, response: str) -> exceptions.ResponseError:
        return exceptions.ResponseError(response)

    async def read_response(self, disable_decoding: bool = False) -> Reply:  # noqa: FBT001, FBT002
        self._limits = ReplyLimits()
        return await super().read_response(disable_decoding=disable_decoding)

    async def _read_response(self, disable_decoding: bool = False) -> Reply:  # noqa: FBT001, FBT002
        self._limits.enter()
        reply = await super()._read_response(disable_decoding)
        self._limits.leave()
        return reply

    async def _read(self, length: int) -> bytes:
        self._limits.count(length)
        return await super()._read(length)

    async def _readline(self) -> bytes:
        line = await super()._readline()
        self._limits.count(len(line))
        return line
