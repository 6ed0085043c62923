"""What was found so far for one domain: `collect` fills it in, `conclude` and `build` read it.

It is mutable, so that it can be shown while the look-ups run, and after Ctrl-C.
"""

from dataclasses import dataclass, field

from postfix_mta_sts.admin.diagnosis.values import (
    DaemonAnswer,
    DaneNow,
    PolicyNow,
    PostfixHere,
    TlsReports,
)
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import MtaStsError
from postfix_mta_sts.mtasts.mistakes import Mistake
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.network.smtp.values import ProbeResult
from postfix_mta_sts.network.trace import FetchTrace
from postfix_mta_sts.postfix.queue import Waiting
from postfix_mta_sts.postfix.smtp_client.values import (
    Delivery,
    InvalidTlsPolicy,
    MailHosts,
    MainCf,
    NextHop,
    TlsPolicy,
)
from postfix_mta_sts.postfix.verify import PostfixWords

NO_DANE = DaneNow(None, "not looked up yet")


@dataclass(slots=True)
class Evidence:
    """The findings; None for what was not reached, or not asked for."""

    next_hop: NextHop
    domain: Domain | None
    """The Policy Domain; None: there can be no policy for this next-hop."""
    asked_at: float
    postfix: PostfixHere | None = None
    main_cf: MainCf = field(default_factory=MainCf)
    daemon: DaemonAnswer | None = None
    network: PolicyNow | None = None
    trace: FetchTrace | None = None
    """The GET under way."""
    policy: Policy | None = None
    """The policy that the network has now."""
    error: MtaStsError | None = None
    """Why it has none."""
    cached: Policy | None = None
    """The policy that the daemon has, if it has not expired."""
    dane: DaneNow = NO_DANE
    outcome: DaneOutcome | None = None
    mail_hosts: MailHosts | None = None
    source: str = "network"
    reply: str | None = None
    """What Postfix is told in its map; None: not known yet."""
    replies: tuple[tuple[str, str], ...] = ()
    tls_policy: TlsPolicy | InvalidTlsPolicy | None = None
    """The reply as this Postfix reads it; None: not found, or not known yet."""
    probes: tuple[ProbeResult, ...] = ()
    delivery: Delivery | None = None
    waiting: Waiting | None = None
    words: PostfixWords | None = None
    tlsrpt: TlsReports | None = None
    mistakes: tuple[Mistake, ...] = ()
    interrupted: bool = False
    pending: list[str] = field(default_factory=list)
    """What is being waited for, in words."""

    @property
    def in_force(self) -> Policy | None:
        """The policy that decides now: the one that the daemon has, else that of the network."""
        return self.cached or self.policy

    @property
    def is_complete(self) -> bool:
        """Whether nothing is being waited for."""
        return not self.pending and not self.interrupted
