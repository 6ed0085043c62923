"""Whether this daemon does DANE: what the administrator wants, Postfix does and the DNS can prove.

Border: it finds that out, says it in the log, and turns DANE on and off in the parts that carry it
out; what DANE then says of a domain is for `dane`, what is answered for `postfix.reply`.

What a name server does that answers nothing is not known, and DANE stays as it was; from the
beginning it is on then. Off, it would let policies override what is on file; on, it can do no
harm, for of a name server that does not validate nothing is ever secure.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from postfix_mta_sts.config.field_types import TcpAddress
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.postfix import postconf
from postfix_mta_sts.postfix.postconf import Postfix
from postfix_mta_sts.postfix.protocol.reply import DaneRule
from postfix_mta_sts.resolver.dane import DaneLookup

EVERY: Final = 3600.0
"""Seconds after which it is found out anew."""
AGAIN: Final = 30.0
"""The same, where no name server answered."""
PATIENCE: Final = 5.0
"""Seconds that the name servers have for it."""

_VALIDATE: Final = (
    "have a resolver that validates on this machine, such as unbound, and name it in "
    "dns.nameservers or /etc/resolv.conf"
)
_TRUST: Final = f"{_VALIDATE}; or set dns.trust_ad: true if nobody can change packets on the way"

_LEVELS: Final = (logging.INFO, logging.WARNING)
_QUIET: Final = (logging.DEBUG, logging.DEBUG)

_log = logging.getLogger(__name__)


class DaneResolver(Protocol):
    """Who asks the DNS for what it can prove; see `dane_client.LazyDaneClient`."""

    @property
    def untrusted(self) -> Sequence[TcpAddress]:
        """The name servers whose AD bit does not count; as of the last `not_validating`."""

    async def not_validating(self) -> Sequence[TcpAddress]:
        """The name servers that do not validate; raises `DnsFailureError` where none answers."""

    async def look_up_dane(self, domain: Domain) -> DaneOutcome:
        """What DANE says of a domain."""


@dataclass(frozen=True, slots=True)
class DaneStatus:
    """Whether DANE is done, and why; all text is in our own words."""

    on: bool
    reason: str
    advice: str | None = None
    """What an administrator can do about it."""
    is_trouble: bool = False
    """Whether DANE is wanted, and cannot be had as it should."""
    is_final: bool = True
    """False: no name server has said yet."""


def by_mode(mode: Literal["auto", "on", "off"], postfix: Postfix | None) -> DaneStatus:
    """What is wanted, before the DNS is asked for what it can do."""
    if mode != "auto":
        return DaneStatus(mode == "on", f"dane.mode is {mode}")
    if postfix is None:
        advice = "set dane.mode: on if your Postfix has smtp_dns_support_level = dnssec, else off"
        return DaneStatus(on=False, reason="there is no postconf to ask", advice=advice)
    found = f"smtp_dns_support_level is {postfix.dns_support_level or 'not set'} in Postfix"
    if postfix.does_dane:
        return DaneStatus(on=True, reason=found)
    advice = "set smtp_dns_support_level = dnssec in main.cf, or dane.mode: off if it is to stay so"
    return DaneStatus(on=False, reason=found, advice=advice)


def by_dns(
    wanted: DaneStatus, untrusted: Sequence[TcpAddress], not_validating: Sequence[TcpAddress]
) -> DaneStatus:
    """What comes of it where DANE is wanted and the DNS has answered (RFC 7672 §2.1.3)."""
    if untrusted:
        reason = f"not on this machine: name server {_listed(untrusted)}"
        return DaneStatus(on=False, reason=reason, advice=_TRUST, is_trouble=True)
    if not_validating:
        reason = f"does not validate: name server {_listed(not_validating)}"
        return DaneStatus(on=False, reason=reason, advice=_VALIDATE, is_trouble=True)
    return wanted


def in_silence(before: DaneStatus | None, why: str) -> DaneStatus:
    """What comes of it where DANE is wanted and no name server answers; see the file's first lines.

    `before`: what was found when one last did, if one did.
    """
    if before:
        return before
    reason = f"not known whether the name servers validate: {why}"
    return DaneStatus(on=True, reason=reason, is_trouble=True, is_final=False)


async def find(
    settings: Settings,
    dane_resolver: DaneResolver,
    postfix: Postfix | None,
    before: DaneStatus | None = None,
) -> DaneStatus:
    """Whether DANE is to be done now; `before` as for `in_silence`."""
    wanted = by_mode(settings.dane.mode, postfix)
    if not wanted.on:
        return wanted
    try:
        async with asyncio.timeout(PATIENCE):
            not_validating = await dane_resolver.not_validating()
    except (DnsFailureError, TimeoutError) as error:
        if (
            untrusted := dane_resolver.untrusted
        ):  # whose word does not count need not speak for that
            return by_dns(wanted, untrusted, ())
        return in_silence(before, str(error) or f"no answer within {PATIENCE:g} s")
    return by_dns(wanted, dane_resolver.untrusted, not_validating)


def rule(settings: Settings) -> DaneRule:
    """How these settings want verdicts to be answered."""
    return DaneRule(settings.dane.answer, defer=settings.dane.on_failure == "defer")


class DaneSupport:
    """Keeps DANE on or off; `settle` before anybody is answered, then `run` as a task.

    `use_dane` is called with whom to ask and how to answer, or with None; `ask`: Postfix; `tells`:
    whether the log is told as well, or another process does that. The seconds are for tests.
    """

    def __init__(
        self,
        settings: Settings,
        dane_resolver: DaneResolver,
        use_dane: Callable[[DaneLookup | None, DaneRule | None], None],
        ask: Callable[[], Awaitable[Postfix | None]] = postconf.ask,
        *,
        tells: bool = True,
        every: float = EVERY,
        again: float = AGAIN,
    ) -> None:
        self.dane_status = DaneStatus(on=False, reason="not looked into yet")
        self._settings = settings
        self._dane_resolver = dane_resolver
        self._do_dane = use_dane
        self._ask = ask
        self._levels = _LEVELS if tells else _QUIET
        self._every = every
        self._again = again
        self._postfix: Postfix | None = None
        self._heard: DaneStatus | None = None
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    async def settle(self) -> None:
        """Find out, and act by it; takes `postconf.TIMEOUT` and `PATIENCE` at most."""
        async with self._turn:
            before, self.dane_status = self.dane_status, await self._found()
            if self.dane_status.is_final:
                self._heard = self.dane_status
            self._act()
            if self.dane_status != before and (self.dane_status.is_final or before.is_final):
                self._tell()

    async def reconfigure(self, settings: Settings) -> None:
        """The same, as these settings have it; what name servers were found to do is forgotten."""
        self._settings, self._heard = settings, None
        await self.settle()
        self._changed.set()

    async def run(self) -> None:
        """Find out again and again; never returns."""
        while True:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    self._every if self.dane_status.is_final else self._again
                ):
                    await self._changed.wait()
                    continue
            try:
                await self.settle()
            except Exception as error:  # noqa: BLE001 (the top of a task: DANE stays as it is)
                event(_log, logging.ERROR, "DANE not looked into", exc_info=error)

    async def _found(self) -> DaneStatus:
        if self._settings.dane.mode == "auto":
            # A postconf that does not answer this time has said nothing else.
            self._postfix = await self._ask() or self._postfix
        return await find(self._settings, self._dane_resolver, self._postfix, self._heard)

    def _act(self) -> None:
        if self.dane_status.on:
            self._do_dane(self._dane_resolver.look_up_dane, rule(self._settings))
        else:
            self._do_dane(None, None)

    def _tell(self) -> None:
        event(
            _log,
            self._levels[self.dane_status.is_trouble],
            "DANE is on" if self.dane_status.on else "DANE is off",
            reason=self.dane_status.reason,
            advice=self.dane_status.advice,
        )


def _listed(servers: Sequence[TcpAddress]) -> str:
    return ", ".join(map(str, servers))
