"""The result of `query`: the types are the JSON schema that `query --schema` prints.

Values only. `collect` fills in what was found, `conclude` draws the verdict from it. Times are
epoch seconds. Text from the network has been made printable where it entered the program.
"""

import enum
from typing import Self

from postfix_mta_sts.mtasts.dane import DaneKind, DaneOutcome, HostState
from postfix_mta_sts.mtasts.exceptions import PolicyException
from postfix_mta_sts.mtasts.mistakes import Mistake
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.network.mail_hosts_values import MailHosts
from postfix_mta_sts.network.policy_families import FamilyResult
from postfix_mta_sts.network.smtp.values import ProbeResult
from postfix_mta_sts.postfix.policy_maps import Table
from postfix_mta_sts.postfix.queue import Waiting
from postfix_mta_sts.postfix.smtp_client.values import Delivery
from postfix_mta_sts.postfix.verify import PostfixWords
from postfix_mta_sts.values import Value


class Flow(enum.StrEnum):
    """What happens to mail for the domain."""

    POLICY = "policy"
    """It is delivered, verified by the policy."""
    DANE = "dane"
    """It is delivered, verified by DANE."""
    UNPROTECTED = "unprotected"
    """It is delivered, and neither a policy nor DANE says how."""
    TESTING = "testing"
    """It is delivered in any case: the policy is in mode testing."""
    HELD = "held"
    """It is deferred."""
    BOUNCED = "bounced"
    UNKNOWN = "unknown"
    """It cannot be told from here."""


class Fault(enum.StrEnum):
    """Whose fault it is that mail does not flow as it should."""

    NOBODY = "nobody"
    THEIRS = "theirs"
    YOURS = "yours"
    NETWORK = "network"


FLOWS, UNPROTECTED, HELD, CANNOT_TELL = 0, 1, 2, 3
"""Exit codes; see `Verdict.exit_code`."""


class Verdict(Value, frozen=True):
    """The answer in words."""

    flow: Flow
    sentence: str
    """What happens to mail for the domain, because of what."""
    fault: Fault
    cause: str
    """A stable word for programs, such as `certificate-expired` or `no-policy`."""
    advice: tuple[str, ...]
    """What to do, the most useful first; empty: nothing."""
    exit_code: int
    """0 flows as it should, 1 neither policy nor DANE, 2 held, or the policy that is published
    cannot be fetched and none is cached, 3 cannot tell."""


class DaemonState(enum.StrEnum):
    """Whether the running daemon was asked."""

    NOT_ASKED = "not-asked"
    """The command was interrupted before."""
    ANSWERED = "answered"
    NOT_RUNNING = "not-running"
    DENIED = "denied"
    """This user may not open its control socket."""
    FAILED = "failed"


class DaemonAnswer(Value, frozen=True):
    """What the running daemon knows, without a look-up of its own."""

    state: DaemonState
    reason: str = ""
    """Why it did not answer."""
    reply: str | None = None
    """What Postfix is told for this key in its map; None: the next look-up asks the network."""
    in_force: bool = False
    """Whether a policy is cached and has not expired."""
    mode: Mode | None = None
    policy_id: PolicyId | None = None
    mx: tuple[str, ...] = ()
    fetched_at: int | None = None
    expires_at: int | None = None
    failure: str | None = None
    """Why its last attempt failed."""
    dane: DaneKind | None = None
    """The verdict in force."""
    asked_at: int | None = None
    """When Postfix last asked for the domain."""
    asked_count: int | None = None
    exception: PolicyException | None = None
    """The one that is in force for the domain; others of its name or of a wider one are not."""


class Record(Value, frozen=True):
    """The TXT record of a name."""

    name: str
    texts: tuple[str, ...] | None
    """None: it was not found, or the DNS did not answer; see `reason`."""
    ttl: int | None = None
    aliases: tuple[str, ...] = ()
    """The CNAME chain from the name on."""
    reason: str = ""


class PolicyHostCertificate(Value, frozen=True):
    """The certificate of the Policy Host."""

    names: tuple[str, ...]
    issuer: str
    not_after: str


class Fetch(Value, frozen=True):
    """One GET of the policy file."""

    url: str | None
    address: str | None
    tls: str | None
    certificate: PolicyHostCertificate | None
    status: int | None
    location: str | None
    """Where a redirect leads, which RFC 8461 §3.3 forbids to follow."""
    media_type: str | None
    size: int | None


class PolicyNow(Value, frozen=True):
    """What the network says of the policy now."""

    record: Record
    policy_id: PolicyId | None = None
    fetch: Fetch | None = None
    body: str | None = None
    mode: Mode | None = None
    mx: tuple[str, ...] = ()
    max_age: int | None = None
    error: str | None = None
    """The code of the error, such as `no-record` or `certificate`."""
    result: str | None = None
    """The result type of RFC 8460 §4.3."""
    reason: str = ""
    line: int | None = None
    """The line of the policy file that is wrong."""
    families: tuple[FamilyResult, ...] = ()
    """The GET over each address family, if the Policy Host has both."""
    families_differ: str = ""
    """Where the two families differ; empty: they agree, or were not compared."""


class DaneHost(Value, frozen=True):
    """The DANE steps of one MX host."""

    name: str
    state: HostState
    step: str


class DaneNow(Value, frozen=True):
    """What the DNS says of DANE now."""

    kind: DaneKind | None
    """None: DANE was not looked up."""
    reason: str
    mx_step: str = ""
    hosts: tuple[DaneHost, ...] = ()
    ttl: int | None = None

    @classmethod
    def of(cls, outcome: DaneOutcome) -> Self:
        """What a look-up found."""
        hosts = tuple(DaneHost(host.name, host.state, host.step) for host in outcome.hosts)
        return cls(outcome.kind, outcome.reason, outcome.step, hosts, outcome.ttl)


class TlsReports(Value, frozen=True):
    """The TLSRPT record (RFC 8460 §3)."""

    record: Record
    rua: tuple[str, ...] = ()
    """Where reports go."""
    error: str = ""
    """Why the record is not valid."""


class PostfixHere(Value, frozen=True):
    """The Postfix of this machine."""

    version: str | None
    """None: there is none, and the parameters are those that the README recommends."""
    level: str
    """smtp_tls_security_level."""
    map_name: str | None
    """The map name with which it asks the daemon; None: it does not."""
    listener_problem: str | None = None
    """Why the daemon's listener that it asks does not answer; empty: it does; None: not known."""
    tables: tuple[Table, ...] = ()
    ca: str = ""
    """Where its CA certificates come from."""
    notes: tuple[str, ...] = ()
    """Why a policy may not apply to all mail: relayhost, transport_maps."""


class Host(Value, frozen=True):
    """One MX host against the policy."""

    name: str
    preference: int
    addresses: tuple[str, ...]
    aliases: tuple[str, ...]
    reason: str
    """Why it has no address."""
    pattern: str | None
    """The mx pattern that it fits; None: none, or there is no policy."""


class Source(enum.StrEnum):
    """Where the entry comes from that Postfix follows."""

    DAEMON = "daemon"
    """The running daemon knows the domain."""
    NETWORK = "network"
    """The daemon knows nothing yet, or does not run: what it would find."""
    TABLE = "table"
    """Another table of smtp_tls_policy_maps."""
    MAIN_CF = "main.cf"
    """No table: this Postfix does not ask the daemon."""


class Diagnosis(Value, frozen=True):
    """All that was found for a domain."""

    key: str
    """As it was given: a domain, or a next-hop such as `[mx.example.com]:587`."""
    domain: str | None
    """The Policy Domain; None: the key names none, so that there can be no policy."""
    asked_at: int
    verdict: Verdict
    delivery: Delivery | None
    """What this Postfix does with a message; None: the MX hosts were not probed."""
    source: Source
    """What is in force."""
    reply: str | None
    """What Postfix is told, in its map; None: not known yet."""
    replies: tuple[tuple[str, str], ...]
    """Each map of the settings, and what Postfix would be told in it."""
    daemon: DaemonAnswer
    network: PolicyNow | None
    dane: DaneNow
    mail_hosts: MailHosts | None
    hosts: tuple[Host, ...]
    probes: tuple[ProbeResult, ...]
    postfix: PostfixHere
    waiting: Waiting | None
    words: PostfixWords | None
    tlsrpt: TlsReports | None
    mistakes: tuple[Mistake, ...]
    waited_for: tuple[str, ...] = ()
    """What was not known yet when the command was interrupted; empty: it ran to its end."""
