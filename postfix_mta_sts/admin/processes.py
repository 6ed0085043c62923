"""One process of a daemon, asked: this one, or another by its private socket.

Border: each `Witness` speaks for itself; what several say is put together in `together`. A
sibling is asked in a thread, for `remote` blocks.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import Final

from postfix_mta_sts.admin import serialize as plain
from postfix_mta_sts.admin.client import Remote, RemoteError
from postfix_mta_sts.admin.types import Plain
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Figures

PATIENCE: Final = 5.0
"""Seconds that a sibling may take to say the next word."""
_LINES_AT_ONCE: Final = 500


class Own:
    """This process. `figures` counts what is to be counted, and gives its numbers."""

    def __init__(self, resolver: Resolver, figures: Callable[[], Awaitable[Figures]]) -> None:
        self._resolver = resolver
        self._figures = figures

    async def figures(self) -> Figures:
        """See `Witness`."""
        return await self._figures()

    async def known(self, domain: Domain) -> Plain:
        """See `Witness`."""
        await self._figures()  # what was answered from memory is counted, and noted, only then
        known = self._resolver.known(domain)
        return plain.of_known(known.state if known else None, self._resolver.demand.of(domain))

    async def failing(self) -> AsyncGenerator[Plain]:
        """See `Witness`."""
        failing = [entry for entry in self._resolver.failing() if plain.fails(entry[1])]
        for domain, state in sorted(failing, key=lambda entry: entry[0]):
            yield plain.of_entry(domain, state)

    async def forget(self, domain: Domain) -> bool:
        """See `Witness`."""
        return await self._resolver.forget(domain)

    async def unlearn(self, domain: Domain) -> None:
        """See `Witness`."""
        self._resolver.unlearn(domain)


class Sibling:
    """Another process, by the path of its private socket. Raises `RemoteError`."""

    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        self._remote = Remote(path, patience)

    async def figures(self) -> Figures:
        """See `Witness`."""
        said = await asyncio.to_thread(self._remote.text, "GET", "figures")
        try:
            return Figures.from_json(said)
        except ValueError as error:
            raise RemoteError(f"another process: {error}") from error

    async def known(self, domain: Domain) -> Plain:
        """See `Witness`."""
        known: Plain = await asyncio.to_thread(self._remote.ask, "GET", "known", domain)
        return known

    async def failing(self) -> AsyncGenerator[Plain]:
        """See `Witness`."""
        lines = self._remote.lines("failing")
        while some := await asyncio.to_thread(lambda: list(islice(lines, _LINES_AT_ONCE))):
            for entry in some:
                yield entry

    async def forget(self, domain: Domain) -> bool:
        """See `Witness`."""
        return bool(await asyncio.to_thread(self._remote.ask, "POST", "forget", domain))

    async def unlearn(self, domain: Domain) -> None:
        """See `Witness`."""
        await asyncio.to_thread(self._remote.ask, "POST", "unlearn", domain)
