"""What was found so far for one domain: `collect` fills it in, `conclude` and `build` read it.

It is mutable, so that it can be shown while the look-ups run, and after Ctrl-C.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self, TypeVar

from postfix_mta_sts.admin.diagnosis.values import (
    DaemonAnswer,
    DaneNow,
    PostfixHere,
    Record,
    Source,
    TlsReports,
)
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import MtaStsError
from postfix_mta_sts.mtasts.exceptions import PolicyException
from postfix_mta_sts.mtasts.mistakes import Mistake
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.network.mail_hosts_values import MailHosts
from postfix_mta_sts.network.policy_families import FamilyResult
from postfix_mta_sts.network.smtp.values import ProbeResult
from postfix_mta_sts.network.trace import FetchTrace
from postfix_mta_sts.postfix.protocol.nexthop import UnmappedKeyError, policy_domain
from postfix_mta_sts.postfix.queue import Waiting
from postfix_mta_sts.postfix.smtp_client.delivery import predict
from postfix_mta_sts.postfix.smtp_client.values import (
    Delivery,
    InvalidTlsPolicy,
    MainCf,
    NextHop,
    TlsPolicy,
)
from postfix_mta_sts.postfix.verify import PostfixWords

T = TypeVar("T")
POLICY = "the policy"
"""The entry of `Evidence.pending` while the policy is looked up."""
_NO_DANE = DaneNow(None, "not looked up")


@dataclass(slots=True)
class PolicyFindings:
    """The steps of the look-up of a policy; None for those that were not reached."""

    record: Record | None = None
    texts: tuple[bytes, ...] = ()
    """The TXT records as they were sent."""
    policy_id: PolicyId | None = None
    trace: FetchTrace | None = None
    body: bytes | None = None
    policy: Policy | None = None
    error: MtaStsError | None = None
    families: tuple[FamilyResult, ...] = ()

    def waits_for(self, domain: str) -> str:
        """What the look-up is waiting for, in words."""
        trace = self.trace
        if trace is None:
            return "the TXT record"
        if not trace.address:
            return f"the addresses of mta-sts.{domain}"
        if not trace.tls_version:
            return f"a TLS connection to {trace.address}"
        if trace.status is None:
            return f"the response of {trace.address}"
        return f"the rest of the policy, after {trace.size or 0} bytes"


@dataclass(slots=True)
class Evidence:
    """The findings; None for what was not reached, or not asked for."""

    next_hop: NextHop
    domain: Domain | None
    """The Policy Domain; None: there can be no policy for this next-hop."""
    asked_at: float
    seconds: float = 10.0
    """The time for the look-ups, and again for the MX hosts."""
    postfix: PostfixHere | None = None
    main_cf: MainCf = field(default_factory=MainCf)
    daemon: DaemonAnswer | None = None
    network: PolicyFindings = field(default_factory=PolicyFindings)
    cached: Policy | None = None
    """The policy that the daemon has, if it has not expired."""
    exception: PolicyException | None = None
    """The one in force that is known: of the daemon, or, if it does not answer, of the settings."""
    is_on_trial: bool = False
    """Whether the settings put the map on trial that Postfix asks."""
    dane: DaneNow = _NO_DANE
    outcome: DaneOutcome | None = None
    mail_hosts: MailHosts | None = None
    is_decided: bool = False
    """Whether it is known which entry Postfix follows, so that the next four count."""
    source: Source = Source.NETWORK
    reply: str | None = None
    """What Postfix is told in its map; None: not known yet, or Postfix does not ask."""
    replies: tuple[tuple[str, str], ...] = ()
    tls_policy: TlsPolicy | InvalidTlsPolicy | None = None
    """The reply as this Postfix reads it; None: not found, or not known yet."""
    probes: tuple[ProbeResult, ...] = ()
    delivery: Delivery | None = None
    waiting: Waiting | None = None
    words: PostfixWords | None = None
    tlsrpt: TlsReports | None = None
    tlsrpt_texts: tuple[bytes, ...] = ()
    """The TLSRPT records as they were sent."""
    mistakes: tuple[Mistake, ...] = ()
    pending: list[str] = field(default_factory=list)
    """What is being waited for: `POLICY`, or words."""
    is_interrupted: bool = False

    @classmethod
    def of(cls, next_hop: NextHop, now: float) -> Self:
        """Evidence without findings; `now` is in epoch seconds."""
        try:
            domain = policy_domain(next_hop.text.encode())
        except UnmappedKeyError:  # the daemon answers "try again"
            domain = None
        return cls(next_hop, domain, now)

    @property
    def in_force(self) -> Policy | None:
        """The policy that decides now: the one that the daemon has, else that of the network."""
        return self.cached or self.network.policy

    def predict(self, hosts: MailHosts) -> None:
        """Predict what Postfix does with a message, by what is known."""
        self.delivery = predict(
            self.next_hop, hosts, self.tls_policy, self.probes, self.main_cf, self.in_force
        )

    def waits(self) -> tuple[str, ...]:
        """What is being waited for now, in words."""
        policy = self.network.waits_for(self.domain or "")
        return tuple(policy if each == POLICY else each for each in self.pending)

    @contextmanager
    def waiting_on(self, what: str) -> Iterator[None]:
        """Note what is being waited for; the note stays if the wait is cancelled."""
        self.pending.append(what)
        yield
        self.pending.remove(what)


async def result_of(task: asyncio.Task[T]) -> T:
    """Wait for a task that others wait for too.

    `await task` would cancel the task each time that one of those is cancelled, and so break off
    its cleaning up.
    """
    await asyncio.wait([task])
    return task.result()
