"""Look up DANE for `query`, whether the daemon uses it or only Postfix itself does."""

import asyncio
from asyncio import Task
from typing import TYPE_CHECKING

from postfix_mta_sts.admin.diagnosis.evidence import Evidence, result_of
from postfix_mta_sts.admin.diagnosis.values import DaneNow
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, MxState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.network.clients import LazyDaneClient
from postfix_mta_sts.network.mail_hosts import with_dane
from postfix_mta_sts.network.mail_hosts_values import MailHosts
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.postfix import postconf
from postfix_mta_sts.postfix.dane import check_status, dane_rule
from postfix_mta_sts.postfix.protocol.nexthop import dane_applies
from postfix_mta_sts.postfix.smtp_client.authentication import DANE, main_level, uses_dnssec
from postfix_mta_sts.postfix.smtp_client.tls_policy import parse_tls_policy
from postfix_mta_sts.postfix.smtp_client.values import TlsPolicy

if TYPE_CHECKING:
    from postfix_mta_sts.network.dane import HostTlsa
    from postfix_mta_sts.postfix.protocol.reply import DaneRule


class DaneEvidence:
    """The DANE look-up for one next-hop.

    `rule` is how the daemon answers verdicts; None: it does not use DANE.
    """

    def __init__(
        self, evidence: Evidence, settings: Settings, network_settings: NetworkSettings
    ) -> None:
        self.rule: DaneRule | None = None
        self._evidence = evidence
        self._settings = settings
        self._client = LazyDaneClient(network_settings)
        self._tlsa: list[HostTlsa] = []

    async def look_up(self, hosts: Task[MailHosts], seconds: float) -> MailHosts:
        """Fill in what the signed DNS says, and return the MX hosts with their TLSA records."""
        evidence = self._evidence
        reason = await self._reason()
        if reason:
            evidence.dane = DaneNow(None, reason)
        else:
            self.rule = dane_rule(self._settings)
        if reason and not self._postfix_asks():
            return await result_of(hosts)
        more: tuple[Host, ...] = ()
        try:
            async with asyncio.timeout(seconds):
                if evidence.domain and evidence.next_hop.has_mx:
                    await self._look_up_domain(evidence.domain)
                elif evidence.domain and self.rule:
                    await self._look_up_in_brackets(evidence.domain)
                more = await self._look_up_hosts(await result_of(hosts))
        except (TimeoutError, OwnFaultError) as error:
            late = f"not finished within {seconds:g} s"
            evidence.dane = DaneNow(None, str(error) or late)
        return with_dane(await result_of(hosts), evidence.outcome, self._tlsa, more)

    async def _reason(self) -> str:
        """Why the daemon does not use DANE; empty if it does."""
        postfix = await postconf.ask() if self._settings.dane.mode == "auto" else None
        dane = await check_status(self._settings, self._client, postfix)
        return "" if dane.on else "; ".join(filter(None, (dane.reason, dane.advice)))

    def _postfix_asks(self) -> bool:
        """Whether Postfix itself looks up TLSA records, by main.cf or by an entry of a table."""
        main_cf, here = self._evidence.main_cf, self._evidence.postfix
        entries = (table.found for table in (here.tables if here else ()) if table.found)
        levels = (parse_tls_policy(entry, main_cf) for entry in entries)
        is_asked_for = any(isinstance(e, TlsPolicy) and e.level in DANE for e in levels)
        return uses_dnssec(main_cf) and (is_asked_for or main_level(main_cf) in DANE)

    async def _look_up_domain(self, domain: Domain) -> None:
        def on_progress(outcome: DaneOutcome) -> None:
            self._evidence.dane = DaneNow.of(outcome)

        outcome = await self._client.look_up_dane(domain, on_progress, self._tlsa.append)
        self._evidence.outcome, self._evidence.dane = outcome, DaneNow.of(outcome)

    async def _look_up_in_brackets(self, domain: Domain) -> None:
        """Ask for the verdict that the daemon has for a name in brackets, if that applies to it."""
        evidence, key = self._evidence, self._evidence.next_hop.text.encode()
        if not dane_applies(key, domain, None):
            return
        tlsa: list[HostTlsa] = []
        outcome = await self._client.look_up_dane(domain, lambda _: None, tlsa.append)
        if dane_applies(key, domain, outcome):
            evidence.outcome, evidence.dane = outcome, DaneNow.of(outcome)
            self._tlsa += tlsa

    async def _look_up_hosts(self, hosts: MailHosts) -> tuple[Host, ...]:
        """Hosts of which the daemon learns nothing: in brackets, or behind an unsigned MX RRset."""
        outcome = self._evidence.outcome
        if not self._postfix_asks() or (outcome and outcome.mx is MxState.SECURE):
            return ()
        names = [host.name for host in hosts.hosts if host.addresses]
        return tuple(await self._client.look_up_hosts(names, self._tlsa.append))
