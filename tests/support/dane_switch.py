"""A `DaneSupport` on name servers that answer as a test says, and what it turns on and off."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import DaneSettings, Settings
from postfix_mta_sts.mtasts.dane import DaneOutcome, MxState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.postfix.dane import CHECK_INTERVAL, RETRY_INTERVAL, WATCH_INTERVAL, DaneSupport
from postfix_mta_sts.postfix.postconf import Postfix
from postfix_mta_sts.postfix.protocol.reply import DaneRule
from postfix_mta_sts.resolver.dane import DaneLookup
from tests.support.tally import Tally

ON: Final = Settings(dane=DaneSettings(mode="on"))


@dataclass
class FakeDaneResolver:
    """Name servers that are not trusted, do not validate, or do not answer."""

    untrusted: Sequence[TcpAddress] = ()
    result: Sequence[TcpAddress] | Exception | None = ()
    """The result of `not_validating`, or the error that it raises; None: it never ends."""
    nameservers: Sequence[TcpAddress] = (TcpAddress("127.0.0.1", 53),)
    checks: Tally[str] = field(default_factory=Tally)

    async def not_validating(self) -> Sequence[TcpAddress]:
        """See `DaneResolver`."""
        await self.checks.add("not_validating")
        if isinstance(self.result, Exception):
            raise self.result
        if self.result is None:
            await asyncio.get_running_loop().create_future()
        return self.result or ()

    async def look_up_dane(
        self,
        domain: Domain,
        on_progress: Callable[[DaneOutcome | None], None] | None = None,  # noqa: ARG002 (the protocol)
    ) -> DaneOutcome:
        """See `DaneResolver`; not called here."""
        return DaneOutcome(MxState.INSECURE, domain)


class DaneSwitch:
    """A `DaneSupport`, and what it turns on and off."""

    def __init__(
        self,
        settings: Settings = ON,
        postfix: Postfix | None = None,
        *,
        check_interval: float = CHECK_INTERVAL,
        retry_interval: float = RETRY_INTERVAL,
        watch_interval: float = WATCH_INTERVAL,
    ) -> None:
        self.dane_resolver = FakeDaneResolver()
        self.postfix = postfix
        self.asked_postfix = 0
        self.dane_lookup: DaneLookup | None = None
        self.rule: DaneRule | None = None
        self.servers: Hashable = None
        self.dane_support = DaneSupport(
            settings,
            self.dane_resolver,
            self._use_dane,
            self._ask_postfix,
            check_interval=check_interval,
            retry_interval=retry_interval,
            watch_interval=watch_interval,
        )

    def _use_dane(
        self, dane_lookup: DaneLookup | None, rule: DaneRule | None, servers: Hashable
    ) -> None:
        self.dane_lookup, self.rule, self.servers = dane_lookup, rule, servers

    async def _ask_postfix(self) -> Postfix | None:
        self.asked_postfix += 1
        return self.postfix
