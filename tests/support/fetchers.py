"""Fetchers for one Policy Host in the process, and servers and resolvers that misbehave."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import FetchError
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.slots import Slot
from tests.support.policy_host import PolicyHost, policy_text

GOOD = Domain("good.test")
OTHER = Domain("other.test")
HOST = "mta-sts.good.test"
POLICY = policy_text()
HOLE = "127.0.0.2"
"""An address for `dropping_port` and `plain_server`; the Policy Host is at 127.0.0.1."""


class Fetchers:
    """Makes fetchers for one Policy Host; `close` closes them."""

    def __init__(self, host: PolicyHost, ca_file: Path) -> None:
        self._host = host
        self._authorities = ca_file.read_text()
        self._made: list[PolicyFetcher] = []

    def __call__(self, **settings: object) -> PolicyFetcher:
        """A fetcher that reaches the host; `settings` (by name) replace the defaults."""
        given = {
            "addresses": self._host.addresses,
            "port": self._host.port,
            "authorities": self._authorities,
            "allow_private_addresses": True,
            **settings,
        }
        fetcher = PolicyFetcher(**given)  # type: ignore[arg-type] # each test gives the right ones
        self._made.append(fetcher)
        return fetcher

    async def close(self) -> None:
        """Close them all."""
        for fetcher in self._made:
            await fetcher.close()


async def failure(fetcher: PolicyFetcher, error: type[FetchError]) -> str:
    """Fetch the policy of the good domain, which must raise `error`; return the reason."""
    with pytest.raises(error) as caught:
        await fetcher.fetch(GOOD)
    assert type(caught.value) is error
    return str(caught.value)


async def refusal(fetcher: PolicyFetcher, domain: Domain) -> str:
    """Fetch the policy of a domain; return why it is not accepted, empty if it is."""
    try:
        await fetcher.fetch(domain)
    except FetchError as error:
        return str(error)
    return ""


class FixedAddresses:
    """A resolver that returns the same addresses for every name."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def __call__(self, _: str) -> Sequence[str]:
        """The addresses."""
        return self._addresses


@contextlib.contextmanager
def dropping_port(host: str, port: int) -> Iterator[None]:
    """A port with a full queue: the kernel drops further SYNs."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(socket.create_server((host, port), backlog=0))
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex((host, port))
        yield


@contextlib.asynccontextmanager
async def plain_server(answer: bytes, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """A port that sends these bytes without TLS and closes the connection; yields its number."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.read(1)
            writer.write(answer)

    async with await asyncio.start_server(serve, host, port) as server:
        yield server.sockets[0].getsockname()[1]


def slot_requested(fetcher: PolicyFetcher) -> asyncio.Event:
    """An event that is set as soon as the next GET of a fetcher requests a slot."""
    requested, take = asyncio.Event(), fetcher._slots.take

    async def take_and_note() -> Slot:
        requested.set()
        return await take()

    fetcher._slots.take = take_and_note  # type: ignore[method-assign] # of this fetcher only
    return requested
