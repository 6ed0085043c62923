"""The client of the network process: sends calls, and sends them again if the process is lost.

The resolver uses `NetworkClient` only; `supervisor` starts and replaces the processes behind it.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, OwnFaultError
from postfix_mta_sts.mtasts.lifecycle import Discovered
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.tlsrpt_record import FoundTlsrpt
from postfix_mta_sts.network.mail_hosts_values import FoundHosts
from postfix_mta_sts.network.messages import (
    AnyCall,
    AskFleet,
    Discover,
    FetchPolicy,
    FindTlsrpt,
    LookUpDane,
    LookUpHosts,
    NotValidating,
    Probe,
    Progress,
)
from postfix_mta_sts.network.pending_calls import CutOffError, LostCallError, OnProgress
from postfix_mta_sts.network.sandbox.confinement import Confinement
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.smtp.trust_content import with_content
from postfix_mta_sts.network.smtp.values import SMTP_PORT, ProbePlan, ProbeResult
from postfix_mta_sts.network.supervisor import Supervisor
from postfix_mta_sts.network.timing import Timing
from postfix_mta_sts.store.fleet.requests import AnyAnswer, AnyRequest, StoreCondition, Unavailable
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.values import replace

PROCESSES_PER_CALL: Final = 2
"""Processes that one call may lose: a call that kills each process must not go on."""


class NetworkClient:
    """Asks DNS, Policy Hosts and DANE; call `reconfigure` first and `close` last.

    `https_port` and `smtp_port`, the ports of Policy Hosts and mail servers, and `timing` are for
    tests. `private`: files that a network process must not read.
    """

    def __init__(
        self,
        https_port: int = 443,
        timing: Timing | None = None,
        smtp_port: int = SMTP_PORT,
        private: Collection[Path] = (),
    ) -> None:
        self._ports = https_port, smtp_port
        self._private = private
        self._supervisor: Final = Supervisor(timing or Timing())
        self._is_started = False
        self.fleet_keys: Sequence[str] = ()
        """The ids of the keys of the fleet, in the order of their file."""

    async def reconfigure(self, settings: Settings) -> None:
        """Use these settings for new calls.

        The first time this does not wait until the process is ready, and starts it until it is.
        Later it waits; running calls finish with the old settings, for `lookup.timeout` at most,
        then they are sent again. Raises `OSError` (`ssl.SSLError` is one) if the CA file cannot be
        used, `UserError` if a file of the fleet cannot be, and later `OSError` or `ProcessError` if
        the process cannot be; nothing has changed then.
        """
        fleet = SharedStoreSettings.of(settings)  # here, because commands do not need its secrets
        fleet_files = settings.fleet.key_file, settings.fleet.password_file
        private = (*self._private, settings.control.path, *fleet_files)
        wanted = replace(
            NetworkSettings.of(settings, *self._ports),
            fleet=fleet,
            private=tuple(str(each) for each in private if each),
        )
        if self._is_started:
            await self._supervisor.replace(wanted, settings.lookup.timeout)
        else:
            self._is_started = True
            self._supervisor.start(wanted)
        keyring = wanted.fleet.keyring if wanted.fleet else None
        self.fleet_keys = tuple(keyring.keys) if keyring else ()

    @property
    def problem(self) -> str:
        """See `Supervisor.problem`."""
        return self._supervisor.problem

    @property
    def pids(self) -> Collection[int]:
        """See `Supervisor.pids`."""
        return self._supervisor.pids

    @property
    def confinement(self) -> Confinement | None:
        """See `Confinement`; None while no network process is ready."""
        process = self._supervisor.current
        return process.confinement if process else None

    @property
    def restarts(self) -> int:
        """See `Supervisor.restarts`."""
        return self._supervisor.restarts

    @property
    def unanswered(self) -> bool:
        """See `DnsClient.unanswered`."""
        process = self._supervisor.current
        return process is not None and process.unanswered

    @property
    def authorities_problem(self) -> str:
        """See `Authorities.problem`; empty while no network process is ready."""
        process = self._supervisor.current
        return process.authorities_problem if process else ""

    async def discover(self, domain: Domain) -> Discovered:
        """See `DnsClient.discover`; this and the others also raise `OwnFaultError`."""
        discovered: Discovered = await self._call(Discover, domain)
        return discovered

    async def find_tlsrpt(self, domain: Domain) -> FoundTlsrpt:
        """See `DnsClient.find_tlsrpt`."""
        found: FoundTlsrpt = await self._call(FindTlsrpt, domain)
        return found

    async def fetch(self, domain: Domain, on_addresses: Callable[[], None] | None = None) -> Policy:
        """See `PolicyFetcher.fetch`."""

        def report(progress: Progress | None) -> None:
            if on_addresses and progress:
                on_addresses()

        wanted = on_addresses is not None
        policy: Policy = await self._call(FetchPolicy, domain, wanted, on_progress=report)
        return policy

    @property
    def nameservers(self) -> Sequence[TcpAddress]:
        """See `LazyDaneClient.nameservers`; empty while no network process is ready."""
        process = self._supervisor.current
        return process.nameservers if process else ()

    @property
    def untrusted(self) -> Sequence[TcpAddress]:
        """See `LazyDaneClient.untrusted`."""
        process = self._supervisor.current
        return process.untrusted if process else ()

    async def not_validating(self) -> Sequence[TcpAddress]:
        """See `LazyDaneClient.not_validating`."""
        try:
            servers: Sequence[TcpAddress] = await self._call(NotValidating)
        except OwnFaultError as error:
            raise DnsFailureError(str(error)) from error  # the servers are just as unknown
        return servers

    async def look_up_dane(
        self, domain: Domain, on_progress: Callable[[DaneOutcome | None], None] | None = None
    ) -> DaneOutcome:
        """See `LazyDaneClient.look_up_dane`; for None see `pending_calls.OnProgress`."""

        def report(progress: Progress | None) -> None:
            if on_progress:
                on_progress(progress.outcome if progress else None)

        wanted = on_progress is not None
        outcome: DaneOutcome = await self._call(LookUpDane, domain, wanted, on_progress=report)
        return outcome

    async def look_up_hosts(self, domain: Domain, seconds: float, *, with_dane: bool) -> FoundHosts:
        """See `MailChecks.look_up_hosts`."""
        found: FoundHosts = await self._call(
            LookUpHosts, domain, seconds, with_dane, only_once=True
        )
        return found

    async def probe(self, plan: ProbePlan) -> Sequence[ProbeResult]:
        """See `MailChecks.probe`."""
        trust = await asyncio.to_thread(with_content, plan.trust)
        plan = replace(plan, trust=trust)
        results: Sequence[ProbeResult] = await self._call(Probe, plan, only_once=True)
        return results

    @property
    def fleet_condition(self) -> StoreCondition:
        """See `SharedStore.condition`; without a network process that answers, nothing is asked."""
        process, trouble = self._supervisor.current, self._supervisor.trouble
        if trouble:
            return StoreCondition(trouble, is_asked=False)
        return process.fleet_condition if process else StoreCondition()

    async def ask_fleet(self, request: AnyRequest) -> AnyAnswer:
        """See `SharedStore.answer`; `Unavailable` also if the network process did not answer."""
        try:
            answer: AnyAnswer = await self._call(AskFleet, request, only_once=True)
        except OwnFaultError as error:
            return Unavailable(str(error))
        return answer

    async def close(self) -> None:
        """Cancel the running calls and stop all processes; call nothing else afterwards."""
        await self._supervisor.stop()

    async def _call(
        self,
        form: Callable[..., AnyCall],
        *args: object,
        on_progress: OnProgress | None = None,
        only_once: bool = False,
    ) -> Any:  # noqa: ANN401 (see `NetworkProcess.call`)
        """Send a call.

        One with `only_once` is not sent again: a check must not cost two processes, and a request
        to the shared store must not cost a look-up more time.
        """
        lost = 0
        while lost < PROCESSES_PER_CALL:
            process = self._supervisor.current or await self._supervisor.process()
            try:
                return await process.call(form, *args, on_progress=on_progress)
            except LostCallError:
                lost += 1
            except CutOffError:
                pass  # a process is cut off for another one: the call is not to blame
            if only_once:
                raise OwnFaultError("the network process ended before it had finished this call")
            if on_progress:
                on_progress(None)
        raise OwnFaultError("two network processes ended before they had finished this call")
