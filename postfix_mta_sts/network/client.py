"""Who asks the network: a process of its own for each generation of settings.

Border: who asks the network knows `NetworkClient` only; which process is behind it changes with a
reload, and what was begun with the old one is ended with it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, OwnFaultError
from postfix_mta_sts.mtasts.lifecycle import Discovered
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.network.process import NetworkProcess
from postfix_mta_sts.network.settings import NetworkSettings


@dataclass(eq=False, slots=True)
class _Generation:
    """One process, and how much it has to do."""

    process: NetworkProcess
    under_way: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class NetworkClient:
    """What the resolver asks; `reconfigure` before anything else, `close` at the end.

    `https_port`, that of the Policy Hosts, is for tests.
    """

    def __init__(self, https_port: int = 443) -> None:
        self._https_port = https_port
        self._generations: list[_Generation] = []  # the last is asked, the others end their work
        self._endings: set[asyncio.Task[None]] = set()

    async def reconfigure(self, settings: Settings) -> None:
        """Ask as these settings have it, from now on; nobody waits until that process is up.

        Raises `OSError` (`ssl.SSLError` is one) for a CA file that cannot be used, or where no
        process can be begun; nothing has changed then.
        """
        process = NetworkProcess(NetworkSettings.of(settings, self._https_port))
        await process.begin()
        self._generations.append(_Generation(process))
        for old in self._generations[-2:-1]:
            ending = asyncio.create_task(self._end(old), name="end of an old network")
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    @property
    def unanswered(self) -> bool:
        """See `Dns.unanswered`."""
        return self._generations[-1].process.unanswered

    async def discover(self, domain: Domain) -> Discovered:
        """See `Dns.discover`; raises `OwnFaultError` besides, as do the others."""
        found: Discovered = await self._call("discover", domain)
        return found

    async def fetch(self, domain: Domain) -> Policy:
        """See `PolicyFetcher.fetch`."""
        policy: Policy = await self._call("fetch", domain)
        return policy

    @property
    def untrusted(self) -> Sequence[TcpAddress]:
        """See `LazyDaneClient.untrusted`; as of the last `not_validating`."""
        return self._generations[-1].process.untrusted

    async def not_validating(self) -> Sequence[TcpAddress]:
        """See `LazyDaneClient.not_validating`."""
        try:
            not_validating: Sequence[TcpAddress] = await self._call("not_validating")
        except OwnFaultError as error:
            raise DnsFailureError(str(error)) from error  # nothing is known of them either
        return not_validating

    async def look_up_dane(self, domain: Domain) -> DaneOutcome:
        """See `LazyDaneClient.look_up_dane`."""
        outcome: DaneOutcome = await self._call("look_up_dane", domain)
        return outcome

    async def close(self) -> None:
        """Give up what is under way; nothing else may be called after."""
        for ending in self._endings:
            ending.cancel()
        if self._endings:
            await asyncio.wait(self._endings)
        await asyncio.gather(*(generation.process.end() for generation in self._generations))
        self._generations.clear()

    async def _call(self, what: str, *args: object) -> Any:  # noqa: ANN401 (see `NetworkProcess.call`)
        generation = self._generations[-1]
        generation.under_way += 1
        try:
            return await generation.process.call(what, *args)
        finally:
            generation.under_way -= 1
            if not generation.under_way:
                generation.idle.set()

    async def _end(self, old: _Generation) -> None:
        while old.under_way:
            old.idle.clear()
            await old.idle.wait()
        self._generations.remove(old)
        await old.process.end()
