"""Make what a scan asks: the clients for DNS, HTTPS and SMTP, as `query` uses them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from ipaddress import ip_address
from typing import Final

from postfix_mta_sts.admin.diagnosis.check import (
    CheckRules,
    CheckSources,
    check_domain,
    is_silent,
)
from postfix_mta_sts.admin.diagnosis.setup import SmtpSetup, read_setup
from postfix_mta_sts.admin.findings import Finding
from postfix_mta_sts.cli.probe import import_probe
from postfix_mta_sts.cli.trial.finder import Finder
from postfix_mta_sts.cli.trial.tally import NOT_KNOWN
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import Exceptions
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.network.clients import LazyDaneClient, open_clients
from postfix_mta_sts.network.mail_checks import MailChecks
from postfix_mta_sts.network.mail_hosts_values import FoundHosts
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.smtp.values import SMTP_PORT, ProbePlan, ProbeResult
from postfix_mta_sts.postfix import postconf
from postfix_mta_sts.postfix.dane import check_status, dane_rule
from postfix_mta_sts.postfix.maps import answering_by
from postfix_mta_sts.resolver.trial import CheckConditions
from postfix_mta_sts.runtime import raise_files_limit
from postfix_mta_sts.values import replace

_FILES: Final = 4_096
"""Open files: a check has up to 20 connections, and 100 may be made at once."""
_PATIENCE: Final = 5.0
"""Seconds after the first silence: a refusal comes at once, and other answers are on their way."""


@asynccontextmanager
async def open_finder(
    settings: Settings, https_port: int = 443, smtp_port: int = SMTP_PORT
) -> AsyncIterator[Callable[[Domain], Awaitable[Finding]]]:
    """Open the clients on the running event loop; yield the function that looks at one domain.

    Raises `CommandError` without the libraries for TLS, and `OSError` as `NetworkSettings.of`.
    The ports, those of Policy Hosts and of mail servers, are for tests.
    """
    import_probe("trial scan", NOT_KNOWN)
    raise_files_limit(_FILES)
    network = NetworkSettings.of(settings, https_port)
    dane = LazyDaneClient(network)
    async with open_clients(network) as (dns, fetcher):
        checks = MailChecks(dns, dane)
        try:
            rules = replace(await _rules(settings, dane), port=smtp_port)
            checker = ScanChecker(checks, await read_setup(), rules, time.time)
            enforces_testing = CheckConditions.of(settings).enforces_testing
            exceptions = Exceptions(configured=settings.policy_exceptions)
            finder = Finder(
                dns, fetcher, checker.check, time.time, enforces_testing, exceptions=exceptions
            )
            yield finder.find
        finally:
            checks.close()


async def _rules(settings: Settings, dane: LazyDaneClient) -> CheckRules:
    """How the daemon would answer with these settings."""
    postfix = await postconf.ask() if settings.dane.mode == "auto" else None
    status = await check_status(settings, dane, postfix)
    rule = dane_rule(settings) if status.on else None
    served = answering_by(settings, rule).without_trial.documented
    return CheckRules(rule, served.reply_format)


class ScanChecker:
    """Checks domains, and remembers whether any mail server has answered so far.

    If none has, silence may be the fault of this side, such as a provider that blocks port 25. That
    is decided at most `patience` seconds after the first silence, when others may have answered.
    """

    def __init__(
        self,
        sources: CheckSources,
        setup: SmtpSetup,
        rules: CheckRules,
        clock: Callable[[], float],
        patience: float = _PATIENCE,
    ) -> None:
        self._sources = sources
        self._setup = setup
        self._rules = rules
        self._clock = clock
        self._patience = patience
        self._wait_until: float | None = None
        self._some_answered = asyncio.Event()

    async def check(self, domain: Domain, policy: Policy, policy_id: str) -> Check:
        """See `check_domain`; the result UNKNOWN also stands for a fault of this side."""
        check = partial(check_domain, domain, policy, policy_id, self, self._setup)
        return await check(now=self._clock(), rules=self._rules, others_answer=self._others_answer)

    async def _others_answer(self) -> bool:
        if self._wait_until is None:
            self._wait_until = asyncio.get_running_loop().time() + self._patience
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._wait_until):
                await self._some_answered.wait()
        return self._some_answered.is_set()

    async def look_up_hosts(self, domain: Domain, seconds: float, *, with_dane: bool) -> FoundHosts:
        """See `CheckSources`."""
        return await self._sources.look_up_hosts(domain, seconds, with_dane=with_dane)

    async def probe(self, plan: ProbePlan) -> Sequence[ProbeResult]:
        """See `CheckSources`."""
        results = await self._sources.probe(plan)
        # A server on this machine says nothing about the way out of it.
        outside = [each for each in results if not ip_address(each.target.address).is_loopback]
        if not is_silent(outside):
            self._some_answered.set()
        return results
