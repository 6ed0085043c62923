"""Find out about one domain of a scan: its policy, and what enforcing that would do to mail."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from postfix_mta_sts.admin.diagnosis.evidence import PolicyFindings
from postfix_mta_sts.admin.diagnosis.policy_now import look_up_policy
from postfix_mta_sts.admin.findings import Finding, Outcome, Policed, judge, with_check
from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DiscoveryError,
    InvalidRecordError,
    MtaStsError,
    NoRecordError,
)
from postfix_mta_sts.mtasts.exceptions import (
    NO_EXCEPTIONS,
    Exceptions,
    PolicyException,
    Use,
    pinned_policy,
)
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.values import replace

POLICY_SECONDS: Final = 20.0
"""For the TXT record and the policy; `query` gives them 10."""
DEADLINE: Final = 120.0
"""For all of a domain; the parts of it have limits of their own, which end before."""

CheckPolicy: TypeAlias = Callable[[Domain, Policy, str], Awaitable[Check]]
"""Finds out what would happen to mail if this policy, with this id, were enforced."""


@dataclass(frozen=True, slots=True)
class Finder:
    """Looks at domains, each at most `deadline` seconds; `clock` is in epoch seconds."""

    dns: DnsClient
    fetcher: PolicyFetcher
    check: CheckPolicy
    clock: Callable[[], float]
    enforces_testing: bool = False
    """Whether some map treats mode testing as enforce."""
    exceptions: Exceptions = NO_EXCEPTIONS
    deadline: float = DEADLINE

    async def find(self, domain: Domain) -> Finding:
        """Look at a domain; what fails is part of the finding."""
        try:
            async with asyncio.timeout(self.deadline):
                return await self._find(domain)
        except TimeoutError:
            sentence = f"The check was not finished within {self.deadline:g} s"
            return Finding(
                domain=domain,
                outcome=Outcome.UNKNOWN,
                sentence=sentence,
                cause="timeout",
                checked_at=round(self.clock()),
            )

    async def _find(self, domain: Domain) -> Finding:
        exception = self.exceptions.in_force(domain, self.clock())
        if exception and exception.use is Use.PIN:
            return await self._checked(domain, pinned_policy(exception), "", exception)
        found = PolicyFindings()
        await look_up_policy(found, domain, self.dns, self.fetcher, POLICY_SECONDS)
        if found.policy is None or found.policy_id is None:
            return _without_policy(domain, found.error)
        return await self._checked(domain, found.policy, found.policy_id, exception)

    async def _checked(
        self, domain: Domain, policy: Policy, policy_id: str, exception: PolicyException | None
    ) -> Finding:
        """The finding for a domain with this policy; it is checked if it would be enforced."""
        policed = Policed(
            mode=policy.mode,
            policy_id=policy_id,
            is_dane=False,  # the check tells what DANE does
            enforces_testing=self.enforces_testing,
            exception=exception,
        )
        outcome, why = judge(policed, None)
        finding = Finding(domain=domain, outcome=outcome, why=why, mode=policy.mode, id=policy_id)
        if outcome is not Outcome.NOT_CHECKED:
            return finding
        check = await self.check(domain, policy, policy_id)
        outcome, why = judge(policed, check)
        return with_check(replace(finding, outcome=outcome, why=why), check)


def _without_policy(domain: Domain, error: MtaStsError | None) -> Finding:
    """A domain of which no policy would be in force."""
    match error:
        case NoRecordError():
            outcome = Outcome.NO_POLICY
        case DiscoveryError() if not isinstance(error, InvalidRecordError):
            outcome = Outcome.UNANSWERED
        case _:
            outcome = Outcome.UNFETCHED
    cause = error.code if error else None
    return Finding(domain=domain, outcome=outcome, sentence=str(error or ""), cause=cause)
