"""Say every few seconds that this relay is alive, for `status --fleet` of all relays."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

from postfix_mta_sts.mtasts.lifecycle import MINUTE
from postfix_mta_sts.store import Overview
from postfix_mta_sts.store.fleet.requests import VERSION_LENGTH, Announce, CallFleet, RelayReport

COUNTED_FOR: Final = MINUTE
"""Seconds for which a count of all policies is used: to count a million takes a while."""


class Presence:
    """What this relay says by `ask`, every ten seconds; see `RelayReport`.

    `overview` counts the policies in the store of this relay. `version`: of the daemon.
    """

    def __init__(
        self,
        ask: CallFleet,
        overview: Callable[[], Awaitable[Overview]],
        waiting: Callable[[], int],
        exceptions_version: Callable[[], int],
        version: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._overview = overview
        self._waiting = waiting
        self._exceptions_version = exceptions_version
        self._version = version[:VERSION_LENGTH]
        self._monotonic = monotonic
        self._policies = 0
        self._counted_at: float | None = None

    async def announce(self) -> None:
        """Say it once; a store that does not answer is asked again in the next round."""
        now = self._monotonic()
        if self._counted_at is None or now - self._counted_at >= COUNTED_FOR:
            self._counted_at = now
            self._policies = sum((await self._overview()).by_mode.values())
        report = RelayReport(
            self._version,
            self._policies,
            self._waiting(),
            self._exceptions_version(),
        )
        await self._ask(Announce(report))
