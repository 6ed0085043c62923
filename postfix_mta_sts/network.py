"""DNS and HTTPS as the settings have them, on the second event loop, and others in their place.

Border: who asks the network knows `Network` only; which `Dns` and which `PolicyFetcher` are behind
it changes with a reload, and what was begun with the old ones is ended with them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, TypeVarTuple

from postfix_mta_sts.beside import Beside
from postfix_mta_sts.config import Settings
from postfix_mta_sts.discovery import Dns
from postfix_mta_sts.fetch import PolicyFetcher
from postfix_mta_sts.mtasts.dane import Outcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import Found
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.notation import TcpAddress
from postfix_mta_sts.proof import Proof

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


@asynccontextmanager
async def network(
    settings: Settings, https_port: int = 443
) -> AsyncIterator[tuple[Dns, PolicyFetcher]]:
    """Who asks the DNS, and who asks the Policy Hosts, on the running loop.

    `https_port`, that of the Policy Hosts, is for tests.
    """
    https = settings.https
    async with AsyncExitStack() as stack:
        dns = Dns(settings.dns.nameservers, settings.dns.timeout)
        stack.push_async_callback(dns.close)
        fetcher = PolicyFetcher(
            dns.addresses,
            timeout=https.timeout,
            ca_file=https.ca_file,
            proxy=https.proxy,
            allow_private_addresses=https.allow_private_addresses,
            concurrency=https.concurrency,
            port=https_port,
        )
        stack.push_async_callback(fetcher.close)
        yield dns, fetcher


@dataclass(eq=False, slots=True)
class _Generation:
    """One `Dns`, one `PolicyFetcher` and one `Proof`, and how much they have to do."""

    dns: Dns
    fetcher: PolicyFetcher
    proof: Proof
    stack: AsyncExitStack
    under_way: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class Network:
    """What the resolver asks; `change` before anything else, `close` at the end.

    `beside`: the loop that all of it runs on.
    """

    def __init__(self, beside: Beside, https_port: int = 443) -> None:
        self._beside = beside
        self._https_port = https_port
        self._generations: list[_Generation] = []  # the last is asked, the others end their work
        self._endings: set[asyncio.Task[None]] = set()

    async def change(self, settings: Settings) -> None:
        """Ask as these settings have it, from now on.

        Raises `OSError` or `ssl.SSLError` for a CA file that cannot be used; nothing has changed
        then.
        """
        async with AsyncExitStack() as stack:
            made = await self._beside.enter(stack, network(settings, self._https_port))
            self._generations.append(_Generation(*made, Proof(settings), stack.pop_all()))
        for old in self._generations[-2:-1]:
            ending = asyncio.create_task(self._end(old), name="end of an old network")
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    @property
    def silent(self) -> bool:
        """See `Dns.silent`."""
        return self._generations[-1].dns.silent

    async def discover(self, domain: Domain) -> Found:
        """See `Dns.discover`."""
        generation = self._generations[-1]
        return await self._call(generation, generation.dns.discover, domain)

    async def fetch(self, domain: Domain) -> Policy:
        """See `PolicyFetcher.fetch`."""
        generation = self._generations[-1]
        return await self._call(generation, generation.fetcher.fetch, domain)

    @property
    def untrusted(self) -> Sequence[TcpAddress]:
        """See `Proof.untrusted`."""
        return self._generations[-1].proof.untrusted

    async def blind(self) -> Sequence[TcpAddress]:
        """See `Proof.blind`."""
        generation = self._generations[-1]
        return await self._call(generation, generation.proof.blind)

    async def judge(self, domain: Domain) -> Outcome:
        """See `Proof.judge`."""
        generation = self._generations[-1]
        return await self._call(generation, generation.proof.judge, domain)

    async def close(self) -> None:
        """Give up what is under way; nothing else may be called after."""
        for ending in self._endings:
            ending.cancel()
        if self._endings:
            await asyncio.wait(self._endings)
        for generation in self._generations:
            await generation.stack.aclose()
        self._generations.clear()

    async def _call(
        self,
        generation: _Generation,
        function: Callable[[*_Ts], Coroutine[Any, Any, _T]],
        *args: *_Ts,
    ) -> _T:
        generation.under_way += 1
        try:
            return await self._beside.call(function, *args)
        finally:
            generation.under_way -= 1
            if not generation.under_way:
                generation.idle.set()

    async def _end(self, old: _Generation) -> None:
        while old.under_way:
            old.idle.clear()
            await old.idle.wait()
        self._generations.remove(old)
        await old.stack.aclose()
