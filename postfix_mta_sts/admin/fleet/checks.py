"""The checks that other relays have made, asked for in the order of the domains."""

from collections.abc import AsyncGenerator
from typing import Final

from postfix_mta_sts.admin.fleet.asking import Fleet
from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.store.fleet.requests import Checks, ReadChecks, problem_of

PAGE: Final = 200
"""Checks that are read at once; one takes less than 1 KiB."""


class SharedChecks:
    """Reads the checks of the fleet page by page; `fleet` None: there are none."""

    def __init__(self, fleet: Fleet | None) -> None:
        self.problem = ""
        """Why some are missing; empty: none is, of those that were asked for."""
        self._fleet = fleet
        self._after = ""
        self._page: list[Check] = []
        """Those that were read and not asked for, the last domain first."""

    async def before(self, domain: str | None) -> AsyncGenerator[Check]:
        """Yield the checks of domains before `domain`; None: all others."""
        while (check := await self._next()) and (domain is None or check.domain < domain):
            yield self._page.pop()

    async def of(self, domain: str) -> Check | None:
        """Return the check of a domain, when those before it were asked for."""
        check = await self._next()
        return self._page.pop() if check and check.domain == domain else None

    async def _next(self) -> Check | None:
        while not self._page and self._fleet:
            await self._read(self._fleet)
        return self._page[-1] if self._page else None

    async def _read(self, fleet: Fleet) -> None:
        answer = await fleet.ask(ReadChecks(self._after, PAGE))
        if isinstance(answer, Checks):
            # In order, whatever the store says: each domain once, and after those before it.
            later = {each.domain: each for each in answer.checks if each.domain > self._after}
            self._page = [later[domain] for domain in sorted(later, reverse=True)]
            is_last = answer.last <= self._after
            self._after = max(self._after, answer.last, *later)
        else:
            self.problem, is_last = f"the shared store: {problem_of(answer)}", True
        if is_last:
            self._fleet = None
