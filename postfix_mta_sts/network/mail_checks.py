"""What a check of a domain asks of the network: its mail hosts, and what they say.

`admin.diagnosis.check` draws the verdict. What a hostile domain can make this return is bounded:
only what the verdict needs is kept. The addresses are those to which Postfix would send mail, so
none is refused for being private.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from postfix_mta_sts.mtasts.dane import DaneOutcome, MxState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.clients import LazyDaneClient
from postfix_mta_sts.network.dane import HostTlsa
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.mail_hosts import look_up_mail_hosts
from postfix_mta_sts.network.mail_hosts import with_dane as add_dane
from postfix_mta_sts.network.mail_hosts_values import FoundHosts, HostDane, MailHosts, MxHost
from postfix_mta_sts.network.smtp.probe_thread import ProbeThread
from postfix_mta_sts.network.smtp.values import ProbePlan, ProbeResult, TlsaRecord
from postfix_mta_sts.values import replace

TLSA_LIMIT: Final = 16_384
"""Hexadecimal digits of the TLSA records of a host that are kept; those of a digest have 64."""


class MailChecks:
    """Looks up mail hosts and probes them; call `close` last."""

    def __init__(self, dns: DnsClient, dane_client: LazyDaneClient) -> None:
        self._dns = dns
        self._dane_client = dane_client
        self._probes = ProbeThread()

    async def look_up_hosts(self, domain: Domain, seconds: float, *, with_dane: bool) -> FoundHosts:
        """The hosts that take mail for a domain, with their addresses, within `seconds`.

        `with_dane`: and what the signed DNS says of them. What is not finished in time has failed.
        Raises `OwnFaultError`.
        """
        tlsa: list[HostTlsa] = []
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(look_up_mail_hosts(domain, self._dns, seconds))
            dane = (
                group.create_task(self._look_up_dane(domain, seconds, tlsa)) if with_dane else None
            )
        outcome = dane.result() if dane else None
        return FoundHosts(_bounded(add_dane(looking.result(), outcome, tlsa)), outcome)

    async def probe(self, plan: ProbePlan) -> tuple[ProbeResult, ...]:
        """Talk to each address of a plan; the results are in its order.

        Of a chain they have only the host's own certificate, of its names those that count, and
        no steps. Raises `CannotProbeError`.
        """
        return await self._probes.probe(plan)

    def close(self) -> None:
        """End all conversations at once."""
        self._probes.close()

    async def _look_up_dane(
        self, domain: Domain, seconds: float, tlsa: list[HostTlsa]
    ) -> DaneOutcome:
        so_far = DaneOutcome(MxState.FAILED, f"not finished within {seconds:g} s")

        def on_progress(outcome: DaneOutcome) -> None:
            nonlocal so_far
            so_far = outcome

        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._dane_client.look_up_dane(domain, on_progress, tlsa.append)
        return so_far


def _bounded(found: MailHosts) -> MailHosts:
    """Without what no verdict needs."""
    return replace(found, aliases=(), hosts=tuple(map(_bounded_host, found.hosts)))


def _bounded_host(host: MxHost) -> MxHost:
    return replace(host, aliases=(), dane=_bounded_dane(host.dane) if host.dane else None)


def _bounded_dane(dane: HostDane) -> HostDane:
    return replace(dane, records=tuple(_that_fit(dane.records)))


def _that_fit(records: Sequence[TlsaRecord]) -> Iterable[TlsaRecord]:
    """The records up to the limit; a long one does not hide the digests behind it."""
    room = TLSA_LIMIT
    for record in records:
        if len(record.data) <= room:
            room -= len(record.data)
            yield record
