"""The Policy Hosts of a run: good ones, and one for each way to be hostile."""

import asyncio
import enum
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from tests.support.policy_host import (
    PolicyHost,
    black_hole,
    chunked,
    ok,
    policy_text,
    reply,
)
from tests.support.tls import Authority
from tests.torture import domains
from tests.torture.dhe import dhe_server
from tests.torture.domains import Host, Site
from tests.torture.world import ADDRESSES, World

FLOOD_PAUSE: Final = 0.005
"""Seconds between two blocks of a flood: the flood must not be the load of this machine."""


class Mode(enum.StrEnum):
    """What every Policy Host does."""

    GOOD = "good"
    SILENT = "hosts-silent"
    UNAVAILABLE = "hosts-503"
    RESET = "hosts-reset"


class PolicyHosts(PolicyHost):
    """All Policy Hosts with a good TLS server; `mode` changes what they do."""

    def __init__(self, world: World, authority: Authority) -> None:
        super().__init__(authority)
        self.mode = Mode.GOOD
        self._world = world
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}

    def context(self, host: str) -> ssl.SSLContext:
        """The TLS context for a Policy Host; a hundred domains share one."""
        try:
            group = domains.group(host.removeprefix("mta-sts."))
        except ValueError:
            group = (host,)
        if group not in self._contexts:
            names = (f"mta-sts.{domain}" for domain in group)
            self._contexts[group] = self.authority.issue(*names).server_context()
        return self._contexts[group]

    def _on_server_name(
        self, session: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> None:
        if name is not None:
            session.context = self.context(name)

    async def _answer(self, name: str, writer: asyncio.StreamWriter) -> None:
        self.requests.clear()
        match self.mode:
            case Mode.SILENT:
                await asyncio.Event().wait()
            case Mode.UNAVAILABLE:
                writer.write(reply(503))
            case Mode.RESET:
                writer.transport.abort()
            case _:
                await self._serve_site(name, writer)

    async def _serve_site(self, name: str, writer: asyncio.StreamWriter) -> None:
        site = self._world.site(name.removeprefix("mta-sts."))
        if site is None or site.policy is None:
            writer.write(reply(404))
        elif hostility := _HOSTILITIES.get(site.host):
            await hostility(writer)
        else:
            writer.write(policy_response(site))
            self._world.policy_served(site.domain, site.policy.version)


def policy_response(site: Site) -> bytes:
    """The response with the policy of a domain."""
    policy = site.policy
    assert policy
    return ok(policy_text(policy.mode, policy.mx, policy.life))


async def _hang(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _repeat(writer: asyncio.StreamWriter, block: bytes, pause: float) -> None:
    while not writer.transport.is_closing():
        writer.write(block)
        await writer.drain()
        await asyncio.sleep(pause)


async def _flood(writer: asyncio.StreamWriter) -> None:
    await _repeat(writer, b"HTTP/1.1 100 Continue\r\n\r\n" * 500, FLOOD_PAUSE)


async def _drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 60000\r\n\r\n")
    await _repeat(writer, b"v", 0.2)


async def _endless(writer: asyncio.StreamWriter) -> None:
    writer.write(chunked(end=b"", content_type="text/plain"))
    await _repeat(writer, b"1000\r\n" + b"x" * 4096 + b"\r\n", FLOOD_PAUSE)


_HOSTILITIES: Final[Mapping[Host, Callable[[asyncio.StreamWriter], Awaitable[None]]]] = {
    Host.HANG: _hang,
    Host.FLOOD: _flood,
    Host.DRIP: _drip,
    Host.ENDLESS: _endless,
}


@asynccontextmanager
async def policy_hosts(world: World, authority: Authority) -> AsyncIterator[PolicyHosts]:
    """Run all Policy Hosts on one port, each kind at its own address."""
    async with PolicyHosts(world, authority) as hosts:
        with (
            black_hole(ADDRESSES[Host.HOLE], hosts.port),
            dhe_server(authority, ADDRESSES[Host.DHE], hosts.port),
        ):
            yield hosts
