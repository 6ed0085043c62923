"""A server for Postfix's connections, on a free port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from postfix_mta_sts.mtasts.policy import parse_stored_policy
from postfix_mta_sts.postfix.connection import PostfixConnection
from postfix_mta_sts.postfix.protocol import socketmap
from postfix_mta_sts.postfix.protocol.reply import PLAIN, ReplyFormat
from postfix_mta_sts.postfix.protocol.wire import Wire
from postfix_mta_sts.postfix.server import Server
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Counters
from tests.support.replies import make_reply_cache
from tests.support.resolvers import make_resolver
from tests.support.surroundings import GOOD, Surroundings, found

SECURE = b"OK secure match=mx1.good.test servername=hostname"
NOT_FOUND = b"NOTFOUND "
LONG_TIME = 60
"""Seconds after which a test fails if what it waits for has not happened."""


def publish_long_policy(around: Surroundings) -> None:
    """Publish a policy for good.test whose reply has 50 KB."""
    mx = "".join(f"mx: mx{n}.good.test\n" for n in range(3_000))
    text = f"version: STSv1\nmode: enforce\nmax_age: 600\n{mx}"
    around.records[GOOD] = found()
    around.policies[GOOD] = parse_stored_policy(text.encode())


class RunningServer:
    """A server with one listener."""

    def __init__(self, server: Server, resolver: Resolver, address: tuple[str, int]) -> None:
        self.server = server
        self.resolver = resolver
        self.address = address

    @property
    def first_connection(self) -> PostfixConnection:
        """The server's side of the oldest connection."""
        return next(iter(self.server._connections))

    async def wait_for_connections(self, number: int) -> None:
        """Return when there are exactly this many connections."""
        await wait_until(lambda: self.server.connections == number)


async def wait_until(condition: Callable[[], bool]) -> None:
    """Return when the condition is true; nothing reports it, so it is polled."""
    async with asyncio.timeout(LONG_TIME):
        while not condition():  # noqa: ASYNC110 (no event to wait for)
            await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(
    around: Surroundings,
    wire: Wire = socketmap,
    reply_format: Callable[[str], ReplyFormat] = lambda _: PLAIN,
    *,
    limit: int = 100,
    timeout: float = 3600.0,  # noqa: ASYNC109 (the server's setting)
    counters: Counters | None = None,
) -> AsyncIterator[RunningServer]:
    """A running server; `limit` and `timeout` as for `Server`."""
    resolver = make_resolver(around, timeout=3600, entries=10_000)
    replies = make_reply_cache(around, wire, reply_format, resolver=resolver, entries=10_000)
    server = Server(limit=limit, timeout=timeout, counters=counters)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    await server.listen(sock, replies)
    try:
        yield RunningServer(server, resolver, sock.getsockname())
    finally:
        await server.drain(0)
        await resolver.close()
