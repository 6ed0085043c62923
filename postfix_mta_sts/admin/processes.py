"""One process of a daemon, asked: this one, or another by its private socket.

Border: each `Witness` speaks for itself; what several say is put together in `control`. A
sibling is asked in a thread, for `control_client` blocks.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import Final

from postfix_mta_sts.admin import serialize
from postfix_mta_sts.admin.client import ControlClient, ControlError
from postfix_mta_sts.admin.types import JsonObject
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Snapshot

PATIENCE: Final = 5.0
"""Seconds that a sibling may take to say the next word."""
_LINES_AT_ONCE: Final = 500


class Own:
    """This process. `snapshot` counts what is to be counted, and gives its numbers."""

    def __init__(self, resolver: Resolver, snapshot: Callable[[], Awaitable[Snapshot]]) -> None:
        self._resolver = resolver
        self._snapshot = snapshot

    async def snapshot(self) -> Snapshot:
        """See `Witness`."""
        return await self._snapshot()

    async def known(self, domain: Domain) -> JsonObject:
        """See `Witness`."""
        await self._snapshot()  # what was answered from memory is counted, and noted, only then
        known = self._resolver.entry(domain)
        return serialize.of_known(known.state if known else None, self._resolver.usage.get(domain))

    async def failing(self) -> AsyncGenerator[JsonObject]:
        """See `Witness`."""
        failing = [entry for entry in self._resolver.failing() if serialize.fails(entry[1])]
        for domain, state in sorted(failing, key=lambda entry: entry[0]):
            yield serialize.of_entry(domain, state)

    async def forget(self, domain: Domain) -> bool:
        """See `Witness`."""
        return await self._resolver.forget(domain)

    async def unlearn(self, domain: Domain) -> None:
        """See `Witness`."""
        await self._resolver.forget(domain)


class Sibling:
    """Another process, by the path of its private socket. Raises `ControlError`."""

    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        self._control_client = ControlClient(path, patience)

    async def snapshot(self) -> Snapshot:
        """See `Witness`."""
        said = await asyncio.to_thread(self._control_client.text, "GET", "figures")
        try:
            return Snapshot.from_json(said)
        except ValueError as error:
            raise ControlError(f"another process: {error}") from error

    async def known(self, domain: Domain) -> JsonObject:
        """See `Witness`."""
        known: JsonObject = await asyncio.to_thread(
            self._control_client.ask, "GET", "known", domain
        )
        return known

    async def failing(self) -> AsyncGenerator[JsonObject]:
        """See `Witness`."""
        lines = self._control_client.lines("failing")
        while some := await asyncio.to_thread(lambda: list(islice(lines, _LINES_AT_ONCE))):
            for entry in some:
                yield entry

    async def forget(self, domain: Domain) -> bool:
        """See `Witness`."""
        return bool(await asyncio.to_thread(self._control_client.ask, "POST", "forget", domain))

    async def unlearn(self, domain: Domain) -> None:
        """See `Witness`."""
        await asyncio.to_thread(self._control_client.ask, "POST", "unlearn", domain)
