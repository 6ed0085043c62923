"""Collect the evidence: ask the daemon, the network, the MX hosts and the Postfix of this machine.

All of it runs at once, as far as one thing does not need another. It stores and changes nothing,
and looks the policy up with the functions that the daemon uses. What a part finds is in the
evidence at once, so that it can be shown before the end.
"""

import asyncio
from asyncio import Task, TaskGroup
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.admin.diagnosis import daemon_answer, in_force
from postfix_mta_sts.admin.diagnosis.dane_evidence import DaneEvidence
from postfix_mta_sts.admin.diagnosis.evidence import POLICY, Evidence, result_of
from postfix_mta_sts.admin.diagnosis.mistakes import look_for_mistakes
from postfix_mta_sts.admin.diagnosis.policy_now import look_up_policy
from postfix_mta_sts.admin.diagnosis.postfix_here import look_here
from postfix_mta_sts.admin.diagnosis.reports import look_up_reports
from postfix_mta_sts.admin.diagnosis.setup import trust_of
from postfix_mta_sts.admin.diagnosis.unjoined import in_thread
from postfix_mta_sts.admin.diagnosis.values import DaemonAnswer, DaemonState
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import NO_EXCEPTIONS, Exceptions, PolicyException
from postfix_mta_sts.network.clients import open_clients
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.mail_hosts import look_up_mail_hosts
from postfix_mta_sts.network.mail_hosts_values import MailHosts
from postfix_mta_sts.network.policy_families import compare_families
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.smtp.values import ProbeResult
from postfix_mta_sts.postfix.answers import Answering
from postfix_mta_sts.postfix.authorities import Authorities
from postfix_mta_sts.postfix.maps import answering_by
from postfix_mta_sts.postfix.programs import all_ended
from postfix_mta_sts.postfix.queue import waiting_for
from postfix_mta_sts.postfix.smtp_client.delivery import targets
from postfix_mta_sts.postfix.smtp_client.values import InvalidTlsPolicy
from postfix_mta_sts.postfix.verify import ask_postfix
from postfix_mta_sts.values import replace


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command is to do."""

    smtp: bool = False
    """Probe the MX hosts."""
    through_postfix: bool = False
    """Have the running Postfix probe them."""
    seconds: float = 10.0
    """For the look-ups, and again for the probes."""


_LEAST_SHARE: Final = 0.25
"""Of the time for the look-ups."""


@dataclass(frozen=True, slots=True)
class Here:
    """What this machine says."""

    authorities: Authorities
    replies: Mapping[str, str | None]
    """See `in_force.with_own_map`."""


class Collector:
    """Fills in the evidence for one next-hop; call `run` once.

    `client` reaches the running daemon; `https_port`, the port of the Policy Hosts, is for tests.
    """

    def __init__(
        self,
        evidence: Evidence,
        settings: Settings,
        client: ControlClient,
        wanted: Wanted,
        *,
        https_port: int = 443,
    ) -> None:
        self._evidence = evidence
        evidence.seconds = wanted.seconds
        self._settings = settings
        self._network_settings = NetworkSettings.of(settings, https_port)
        self._client = client
        self._wanted = wanted
        self._end = 0.0
        self._dane = DaneEvidence(evidence, settings, self._network_settings)

    async def run(self) -> None:
        """Ask all; what fails is part of the evidence.

        Raises `UserError` for what keeps it from asking, such as unreadable CA certificates.
        """
        self._end = asyncio.get_running_loop().time() + self._wanted.seconds
        try:
            async with open_clients(self._network_settings) as clients, TaskGroup() as group:
                self._start(group, *clients)
        except ExceptionGroup as errors:
            for_people = (each for each in errors.exceptions if isinstance(each, UserError))
            raise next(for_people, errors) from None

    def _start(self, group: TaskGroup, dns: DnsClient, fetcher: PolicyFetcher) -> None:
        """Start all parts; each awaits those that it needs."""
        here = group.create_task(self._look_here())
        policy = group.create_task(self._policy(dns, fetcher))
        hosts = group.create_task(self._mail_hosts(dns))
        dane = group.create_task(self._look_up_dane(here, hosts))
        reports = group.create_task(self._reports(dns))
        group.create_task(self._queue())
        group.create_task(self._through_postfix(here))
        group.create_task(self._mistakes(dns, fetcher, policy, hosts, reports))
        group.create_task(self._deliver(here, policy, hosts, dane))

    async def _look_here(self) -> Here:
        """The Postfix of this machine, and what the daemon says, which answers at once."""
        evidence, key = self._evidence, self._evidence.next_hop.text
        with evidence.waiting_on("the daemon and Postfix on this machine"):
            asked = asyncio.create_task(
                in_thread(partial(daemon_answer.ask, self._client, key, evidence.domain))
            )
            looked = asyncio.create_task(look_here(evidence, self._settings))
            await all_ended(asked, looked)
            said, authorities = asked.result(), looked.result()
        evidence.cached = said.policy
        replies = in_force.with_own_map(evidence, said.replies)
        reply = replies[in_force.map_name(evidence)]
        evidence.daemon = replace(in_force.reached(said.answer, evidence.postfix), reply=reply)
        evidence.exception = self._exception(said.answer)
        asked_map = answering_by(self._settings, None).served(in_force.map_name(evidence))
        evidence.is_on_trial = asked_map.reply_format.trial
        return Here(authorities, replies)

    def _exception(self, answer: DaemonAnswer) -> PolicyException | None:
        """The exception in force; without the daemon, those of commands are not known."""
        if answer.state is DaemonState.ANSWERED or self._evidence.domain is None:
            return answer.exception
        written = Exceptions(self._settings.policy_exceptions)
        return written.in_force(self._evidence.domain, self._evidence.asked_at)

    async def _policy(self, dns: DnsClient, fetcher: PolicyFetcher) -> None:
        evidence = self._evidence
        if evidence.domain is None:
            return
        with evidence.waiting_on(POLICY):
            await look_up_policy(
                evidence.network, evidence.domain, dns, fetcher, self._wanted.seconds
            )
        if evidence.network.trace:
            with evidence.waiting_on("the addresses of the Policy Host"):
                await self._families(evidence.domain, dns)

    async def _families(self, domain: Domain, dns: DnsClient) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._end):
                self._evidence.network.families = await compare_families(
                    domain, dns, self._network_settings
                )

    async def _mail_hosts(self, dns: DnsClient) -> MailHosts:
        evidence, next_hop = self._evidence, self._evidence.next_hop

        def on_progress(found: MailHosts) -> None:
            evidence.mail_hosts = found

        with evidence.waiting_on("the MX hosts"):
            return await look_up_mail_hosts(
                next_hop.host,
                dns,
                self._wanted.seconds,
                has_mx=next_hop.has_mx,
                on_progress=on_progress,
            )

    async def _look_up_dane(self, here: Task[Here], hosts: Task[MailHosts]) -> None:
        await result_of(here)
        with self._evidence.waiting_on("the DANE records"):
            self._evidence.mail_hosts = await self._dane.look_up(hosts, self._wanted.seconds)

    async def _reports(self, dns: DnsClient) -> None:
        evidence = self._evidence
        if evidence.domain:
            with evidence.waiting_on("the TLSRPT record"):
                await look_up_reports(evidence, evidence.domain, dns, self._wanted.seconds)

    async def _queue(self) -> None:
        if self._evidence.domain:
            with self._evidence.waiting_on("the mail queue"):
                self._evidence.waiting = await waiting_for(self._evidence.domain)

    async def _through_postfix(self, here: Task[Here]) -> None:
        await result_of(here)
        evidence = self._evidence
        if self._wanted.through_postfix and evidence.domain:
            with evidence.waiting_on("the probe of Postfix"):
                evidence.words = await ask_postfix(evidence.domain, evidence.main_cf)

    async def _mistakes(self, dns: DnsClient, fetcher: PolicyFetcher, *needed: Task[Any]) -> None:
        await asyncio.wait(needed)
        with self._evidence.waiting_on("records and files at other places"):
            self._evidence.mistakes = await look_for_mistakes(
                self._evidence, dns, fetcher, self._time_left
            )

    def _time_left(self) -> float:
        """Seconds of the look-ups; a policy that came late leaves a little for what is missing."""
        left = self._end - asyncio.get_running_loop().time()
        return max(left, self._wanted.seconds * _LEAST_SHARE)

    async def _deliver(self, here: Task[Here], *needed: Task[Any]) -> None:
        """Decide what Postfix is told, probe the MX hosts, and predict what it does."""
        policy, hosts, dane = needed
        found = await result_of(here)
        if not in_force.by_what_is_here(self._evidence, found.replies):
            await asyncio.wait([policy, dane])
            in_force.by_network(self._evidence, self._answering())
        await result_of(hosts)
        await result_of(dane)
        if self._wanted.smtp:  # also if Postfix refuses each host unseen: RFC 8461 may allow it
            await self._probe(found.authorities)
        self._predict()

    def _answering(self) -> Answering:
        known = self._evidence.exception
        exceptions = Exceptions(added={known.scope: known}) if known else NO_EXCEPTIONS
        return answering_by(self._settings, self._dane.rule, exceptions)

    async def _probe(self, authorities: Authorities) -> None:
        evidence = self._evidence
        hosts = evidence.mail_hosts
        if hosts is None:
            return
        # Here, because a machine may lack the libraries that they need (pyproject.toml).
        from postfix_mta_sts.network.smtp.probe import probe_all  # noqa: PLC0415
        from postfix_mta_sts.network.smtp.tls import Trust  # noqa: PLC0415

        files = trust_of(authorities)
        trust = await asyncio.to_thread(
            Trust, files.ca_file, files.ca_path, files.append_default_ca
        )
        wanted = targets(evidence.next_hop, hosts, evidence.tls_policy, evidence.main_cf)

        def on_result(result: ProbeResult) -> None:
            evidence.probes += (result,)

        number = f"{len(wanted)} address{'' if len(wanted) == 1 else 'es'}"
        with evidence.waiting_on(f"the mail servers ({number})"):
            evidence.probes = await probe_all(
                wanted,
                trust,
                ehlo=evidence.main_cf.smtp_helo_name,
                deadline=self._wanted.seconds,
                on_result=on_result,
            )

    def _predict(self) -> None:
        """Predict, if the MX hosts were probed or need not be."""
        evidence, hosts = self._evidence, self._evidence.mail_hosts
        is_held = isinstance(evidence.tls_policy, InvalidTlsPolicy)
        if hosts and (self._wanted.smtp or is_held or hosts.problem):
            evidence.predict(hosts)
