"""Decide whether DANE is on, from the settings, the configuration of Postfix and the DNS.

This module also logs the result, and turns DANE on and off in the parts that use it. `network.dane`
looks up what DANE says of a domain; `protocol.reply` composes the reply.

If no name server answers, DANE stays as it was; at the start it is on. Off, it would let policies
override stored verdicts; on, it can do no harm, because answers of a name server that does not
validate are never secure.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.postfix import postconf
from postfix_mta_sts.postfix.postconf import Postfix
from postfix_mta_sts.postfix.protocol.reply import DaneRule
from postfix_mta_sts.resolver.dane import DaneLookup

CHECK_INTERVAL: Final = 3600.0
"""Seconds between two checks."""
RETRY_INTERVAL: Final = 30.0
"""The same, after no name server answered."""
WATCH_INTERVAL: Final = 5.0
"""Seconds between two looks at which name servers are queried; other ones are checked at once."""
DNS_TIMEOUT: Final = 5.0
"""Seconds for an answer from the name servers."""
FIRST_TIMEOUT: Final = 1.0
"""The same at the start, where Postfix cannot connect before the first check has ended."""

_VALIDATE: Final = (
    "run a validating resolver such as unbound on this machine, and name it in "
    "dns.nameservers or /etc/resolv.conf"
)
_TRUST: Final = f"{_VALIDATE}; or set dns.trust_ad: true if the path to it cannot be tampered with"

_log = logging.getLogger(__name__)


class DaneResolver(Protocol):
    """Looks up what the DNS can prove; see `network.clients.LazyDaneClient`."""

    @property
    def nameservers(self) -> Sequence[TcpAddress]:
        """The name servers that are queried, or will be after a check; empty: not known."""

    @property
    def untrusted(self) -> Sequence[TcpAddress]:
        """Those of them whose AD bit is not trusted."""

    async def not_validating(self) -> Sequence[TcpAddress]:
        """Name servers that do not validate; raises `DnsFailureError` if none answers."""

    async def look_up_dane(
        self, domain: Domain, on_progress: Callable[[DaneOutcome | None], None] | None = None
    ) -> DaneOutcome:
        """What DANE says of a domain; `on_progress` gets the outcome so far."""


@dataclass(frozen=True, slots=True)
class DaneStatus:
    """Whether DANE is on, and why."""

    on: bool
    reason: str
    advice: str | None = None
    """What an administrator can do about it."""
    needs_attention: bool = False
    """Whether DANE is wanted but does not work as it should."""
    is_final: bool = True
    """False: no name server has answered yet."""


def status_by_mode(mode: Literal["auto", "on", "off"], postfix: Postfix | None) -> DaneStatus:
    """The status that settings and Postfix ask for, before the DNS is checked."""
    if mode != "auto":
        return DaneStatus(mode == "on", f"dane.mode is {mode}")
    if postfix is None:
        advice = "set dane.mode: on if your Postfix has smtp_dns_support_level = dnssec, else off"
        return DaneStatus(on=False, reason="postconf was not found", advice=advice)
    found = f"smtp_dns_support_level is {postfix.dns_support_level or 'not set'} in Postfix"
    if postfix.does_dane:
        return DaneStatus(on=True, reason=found)
    advice = "set smtp_dns_support_level = dnssec in main.cf, or dane.mode: off to leave it so"
    return DaneStatus(on=False, reason=found, advice=advice)


def status_by_dns(
    wanted: DaneStatus, untrusted: Sequence[TcpAddress], not_validating: Sequence[TcpAddress]
) -> DaneStatus:
    """The status if DANE is wanted and the DNS has answered (RFC 7672 §2.1.3)."""
    if untrusted:
        reason = f"not on this machine: name server {_join(untrusted)}"
        return DaneStatus(on=False, reason=reason, advice=_TRUST, needs_attention=True)
    if not_validating:
        reason = f"does not validate: name server {_join(not_validating)}"
        return DaneStatus(on=False, reason=reason, advice=_VALIDATE, needs_attention=True)
    return wanted


def status_without_dns(last: DaneStatus | None, why: str) -> DaneStatus:
    """The status if DANE is wanted and no name server answers; see the module docstring.

    `last`: the last status for which a name server had answered.
    """
    if last:
        return last
    reason = f"not known whether the name servers validate: {why}"
    return DaneStatus(on=True, reason=reason, needs_attention=True, is_final=False)


async def check_status(
    settings: Settings,
    dane_resolver: DaneResolver,
    postfix: Postfix | None,
    last: DaneStatus | None = None,
    timeout: float = DNS_TIMEOUT,  # noqa: ASYNC109 (the name servers' time)
) -> DaneStatus:
    """Whether DANE is to be on now; `last` as for `status_without_dns`, `timeout` in seconds."""
    wanted = status_by_mode(settings.dane.mode, postfix)
    if not wanted.on:
        return wanted
    try:
        async with asyncio.timeout(timeout):
            not_validating = await dane_resolver.not_validating()
    except (DnsFailureError, TimeoutError) as error:
        if untrusted := dane_resolver.untrusted:  # no answer is needed to distrust them
            return status_by_dns(wanted, untrusted, ())
        return status_without_dns(last, str(error) or f"no answer within {timeout:g} s")
    return status_by_dns(wanted, dane_resolver.untrusted, not_validating)


def dane_rule(settings: Settings) -> DaneRule:
    """How these settings want verdicts to be answered."""
    return DaneRule(settings.dane.answer, defer=settings.dane.on_failure == "defer")


class DaneSupport:
    """Keeps DANE on or off; call `update` before the first reply, then `run` as a task.

    `use_dane` is called with the look-up, the rule and what identifies the name servers, or with
    None to turn DANE off; `ask_postfix` runs postconf. The intervals (seconds) are for tests.
    """

    def __init__(
        self,
        settings: Settings,
        dane_resolver: DaneResolver,
        use_dane: Callable[[DaneLookup | None, DaneRule | None, Hashable], None],
        ask_postfix: Callable[[], Awaitable[Postfix | None]] = postconf.ask,
        *,
        check_interval: float = CHECK_INTERVAL,
        retry_interval: float = RETRY_INTERVAL,
        watch_interval: float = WATCH_INTERVAL,
    ) -> None:
        self.status = DaneStatus(on=False, reason="not checked yet")
        self._settings = settings
        self._dane_resolver = dane_resolver
        self._use_dane = use_dane
        self._ask_postfix = ask_postfix
        self._check_interval = check_interval
        self._retry_interval = retry_interval
        self._watch_interval = watch_interval
        self._servers: frozenset[TcpAddress] = frozenset()  # of the last check
        self._verdicts_of: frozenset[TcpAddress] = frozenset()
        """The servers to which verdicts belong: those that were the last to answer a check."""
        self._postfix: Postfix | None = None
        self._last_final: DaneStatus | None = None
        self._lock = asyncio.Lock()
        self._reconfigured = asyncio.Event()

    async def update(self, timeout: float = DNS_TIMEOUT) -> None:  # noqa: ASYNC109 (as above)
        """Check, and turn DANE on or off; takes `postconf.TIMEOUT` and `timeout` at most."""
        async with self._lock:
            if self._has_other_servers():
                self._last_final = None
            before, self.status = self.status, await self._check(timeout)
            # Servers that are not known are those of before: the network process starts again.
            self._servers = frozenset(self._dane_resolver.nameservers) or self._servers
            if self.status.is_final:
                self._last_final = self.status
            if self.status.is_final or not self._verdicts_of:
                self._verdicts_of = self._servers  # silent servers take no verdict back
            self._apply()
            if self.status != before and (self.status.is_final or before.is_final):
                self._log()

    async def reconfigure(self, settings: Settings) -> None:
        """Check with new settings; earlier answers count only if the settings for DANE stay."""
        before, self._settings = self._settings, settings
        if (settings.dns, settings.dane) != (before.dns, before.dane):
            self._last_final = None
        await self.update()
        self._reconfigured.set()

    async def run(self) -> None:
        """Check at each interval, and when other name servers are queried; never returns."""
        while True:
            await self._wait_until_due()
            try:
                await self.update()
            except Exception as error:  # noqa: BLE001 (the top of a task: DANE stays as it is)
                event(_log, logging.ERROR, "DANE check failed", exc_info=error)

    async def _wait_until_due(self) -> None:
        waited = 0.0
        while True:
            interval = self._check_interval if self.status.is_final else self._retry_interval
            pause = min(self._watch_interval, max(0.0, interval - waited))
            waited = 0.0 if await self._is_reconfigured_within(pause) else waited + pause
            if waited >= interval or self._has_other_servers():
                return

    async def _is_reconfigured_within(self, seconds: float) -> bool:
        self._reconfigured.clear()
        try:
            async with asyncio.timeout(seconds):
                return await self._reconfigured.wait()
        except TimeoutError:
            return False

    def _has_other_servers(self) -> bool:
        """Whether other name servers are queried than at the last check."""
        servers = frozenset(self._dane_resolver.nameservers)
        return bool(servers) and servers != self._servers

    async def _check(self, timeout: float) -> DaneStatus:  # noqa: ASYNC109 (as above)
        if self._settings.dane.mode == "auto":
            # A postconf that does not answer this time has not changed its answer.
            self._postfix = await self._ask_postfix() or self._postfix
        last = self._last_final
        asked = self._dane_resolver, self._postfix
        return await check_status(self._settings, *asked, last, timeout)

    def _apply(self) -> None:
        if self.status.on:
            rule, dns = dane_rule(self._settings), self._settings.dns
            asked_of = (self._verdicts_of, dns.trust_ad) if self._verdicts_of else None
            self._use_dane(self._dane_resolver.look_up_dane, rule, asked_of)
        else:
            self._use_dane(None, None, None)

    def _log(self) -> None:
        level = logging.WARNING if self.status.needs_attention else logging.INFO
        reason, advice = self.status.reason, self.status.advice
        if self.status.on:
            event(_log, level, "DANE is on", reason=reason, advice=advice)
        else:
            event(_log, level, "DANE is off", reason=reason, advice=advice)


def _join(servers: Sequence[TcpAddress]) -> str:
    return ", ".join(map(str, servers))
