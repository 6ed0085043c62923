"""The client of the network process: one process for each generation of settings.

The resolver uses `NetworkClient` only. A reload starts a new process behind it; the old one
finishes its calls and is stopped.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, OwnFaultError
from postfix_mta_sts.mtasts.lifecycle import Discovered
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.network.messages import (
    AnyCall,
    Discover,
    FetchPolicy,
    LookUpDane,
    NotValidating,
    Progress,
)
from postfix_mta_sts.network.process import NetworkProcess, OnProgress
from postfix_mta_sts.network.settings import NetworkSettings


@dataclass(eq=False, slots=True)
class _Generation:
    """One process and the number of its running calls."""

    process: NetworkProcess
    running: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class NetworkClient:
    """Asks DNS, Policy Hosts and DANE; call `reconfigure` first and `close` last.

    `https_port`, the port of the Policy Hosts, is for tests.
    """

    def __init__(self, https_port: int = 443) -> None:
        self._https_port = https_port
        self._generations: list[_Generation] = []  # the last gets new calls, the others finish
        self._stopping: set[asyncio.Task[None]] = set()

    async def reconfigure(self, settings: Settings) -> None:
        """Use these settings for new calls; does not wait until the new process is ready.

        Raises `OSError` (`ssl.SSLError` is one) if the CA file cannot be used or the process
        cannot be started; nothing has changed then.
        """
        process = NetworkProcess(NetworkSettings.of(settings, self._https_port))
        await process.start()
        self._generations.append(_Generation(process))
        for old in self._generations[-2:-1]:
            task = asyncio.create_task(self._stop(old), name="stop of old network process")
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    @property
    def unanswered(self) -> bool:
        """See `DnsClient.unanswered`."""
        return self._generations[-1].process.unanswered

    async def discover(self, domain: Domain) -> Discovered:
        """See `DnsClient.discover`; this and the others also raise `OwnFaultError`."""
        discovered: Discovered = await self._call(Discover, domain)
        return discovered

    async def fetch(self, domain: Domain, on_addresses: Callable[[], None] | None = None) -> Policy:
        """See `PolicyFetcher.fetch`."""

        def report(_: Progress) -> None:
            if on_addresses:
                on_addresses()

        wanted = on_addresses is not None
        policy: Policy = await self._call(FetchPolicy, domain, wanted, on_progress=report)
        return policy

    @property
    def untrusted(self) -> Sequence[TcpAddress]:
        """See `LazyDaneClient.untrusted`; as of the last `not_validating`."""
        return self._generations[-1].process.untrusted

    async def not_validating(self) -> Sequence[TcpAddress]:
        """See `LazyDaneClient.not_validating`."""
        try:
            servers: Sequence[TcpAddress] = await self._call(NotValidating)
        except OwnFaultError as error:
            raise DnsFailureError(str(error)) from error  # the servers are just as unknown
        return servers

    async def look_up_dane(
        self, domain: Domain, on_progress: Callable[[DaneOutcome], None] | None = None
    ) -> DaneOutcome:
        """See `LazyDaneClient.look_up_dane`."""

        def report(progress: Progress) -> None:
            if on_progress and progress.outcome:
                on_progress(progress.outcome)

        wanted = on_progress is not None
        outcome: DaneOutcome = await self._call(LookUpDane, domain, wanted, on_progress=report)
        return outcome

    async def close(self) -> None:
        """Cancel the running calls and stop all processes; call nothing else afterwards."""
        for task in self._stopping:
            task.cancel()
        if self._stopping:
            await asyncio.wait(self._stopping)
        await asyncio.gather(*(generation.process.stop() for generation in self._generations))
        self._generations.clear()

    async def _call(
        self,
        form: Callable[..., AnyCall],
        *args: object,
        on_progress: OnProgress | None = None,
    ) -> Any:  # noqa: ANN401 (see `NetworkProcess.call`)
        generation = self._generations[-1]
        generation.running += 1
        try:
            return await generation.process.call(form, *args, on_progress=on_progress)
        finally:
            generation.running -= 1
            if not generation.running:
                generation.idle.set()

    async def _stop(self, old: _Generation) -> None:
        while old.running:
            old.idle.clear()
            await old.idle.wait()
        self._generations.remove(old)
        await old.process.stop()
