"""A server of Postfix's clients, on a free port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.postfix.protocol import socketmap
from postfix_mta_sts.postfix.protocol.reply import PLAIN, ReplyFormat
from postfix_mta_sts.postfix.protocol.wire import Wire
from postfix_mta_sts.postfix.replies import ReplyCache
from postfix_mta_sts.postfix.server import Server
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Counters
from tests.support.surroundings import GOOD, Surroundings, found

SECURE = b"OK secure match=mx1.good.test servername=hostname"


NOT_FOUND = b"NOTFOUND "


def publish_long(around: Surroundings) -> None:
    """Let good.test have a policy with a reply of 50 KB."""
    mx = "".join(f"mx: mx{n}.good.test\n" for n in range(3_000))
    text = f"version: STSv1\nmode: enforce\nmax_age: 600\n{mx}"
    around.records[GOOD] = found()
    around.policies[GOOD] = parse_policy(text.encode())


class Served:
    """A server with one listener, and its parts."""

    def __init__(self, server: Server, resolver: Resolver, address: tuple[str, int]) -> None:
        self.server = server
        self.resolver = resolver
        self.address = address

    async def connections(self, number: int) -> None:
        """Return once there are so many connections."""
        async with asyncio.timeout(5):
            while self.server.connections != number:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(
    around: Surroundings,
    wire: Wire = socketmap,
    reply_format: Callable[[str], ReplyFormat] = lambda _: PLAIN,
    *,
    limit: int = 100,
    timeout: float = 30.0,  # noqa: ASYNC109 (the clients' time)
    counters: Counters | None = None,
) -> AsyncIterator[Served]:
    """A server on a free port."""
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=10_000)
    answers = ReplyCache(wire, reply_format, resolver, lambda: around.now, entries=10_000)
    server = Server(limit=limit, timeout=timeout, counters=counters)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    await server.listen(sock, answers)
    try:
        yield Served(server, resolver, sock.getsockname())
    finally:
        await server.drain(0)
        await resolver.close()
