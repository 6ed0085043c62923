"""What happens in a run, as values: the input of the checker.

`at` and `asked_at` are monotonic seconds. The daemon's clock is `at` plus the offset of the last
`ClockSet`.
"""

import enum
from dataclasses import dataclass
from typing import Final, TypeAlias

NOT_FOUND: Final = "NOTFOUND"
TEMP: Final = "TEMP"
UNANSWERED: Final = "unanswered"
DANE_ONLY: Final = "dane-only"
DANE: Final = "dane"


class Fault(enum.StrEnum):
    """A fault that lasts; its value is its name in the schedule."""

    DNS_DOWN = "dns-down"
    DNS_SILENT = "dns-silent"
    DNS_SERVFAIL = "dns-servfail"
    DNS_LYING = "dns-lying"
    """Each answer comes 0.2 s late, after two forged ones with another id or another question."""
    HOSTS_SILENT = "hosts-silent"
    HOSTS_503 = "hosts-503"
    HOSTS_RESET = "hosts-reset"
    NETWORK_KILLED = "network-killed"
    NETWORK_STOPPED = "network-stopped"
    STORE_FULL = "store-full"
    STORE_READ_ONLY = "store-read-only"
    STORE_BROKEN = "store-broken"
    STORE_SLOW = "store-slow"
    LOG_STUCK = "log-stuck"
    BUSY = "busy-machine"
    """Not in the schedule: this process was late, so its servers answered late."""


DNS_FAULTS: Final = frozenset({Fault.DNS_DOWN, Fault.DNS_SILENT, Fault.DNS_SERVFAIL})
HOST_FAULTS: Final = frozenset({Fault.HOSTS_SILENT, Fault.HOSTS_503, Fault.HOSTS_RESET})
OWN_FAULTS: Final = frozenset({Fault.NETWORK_KILLED, Fault.NETWORK_STOPPED})
STORE_FAULTS: Final = frozenset(
    {Fault.STORE_FULL, Fault.STORE_READ_ONLY, Fault.STORE_BROKEN, Fault.STORE_SLOW}
)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as its domain publishes it; a later version has a higher number and another id."""

    version: int
    mode: str
    mx: tuple[str, ...]
    life: int
    """Its max_age, in seconds."""

    @property
    def policy_id(self) -> str:
        """The id in the TXT record."""
        return f"id{self.version}"

    @property
    def answer(self) -> str:
        """The answer where no DANE verdict decides."""
        if self.mode != "enforce":
            return NOT_FOUND
        return f"secure match={':'.join(self.mx)} servername=hostname"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The DANE verdict that the DNS supports: `all`, `some`, `none` or `insecure`."""

    version: int
    kind: str
    life: int
    """The TTL of all its records, in seconds."""


@dataclass(frozen=True, slots=True)
class SettingsInForce:
    """The settings on which answers depend."""

    dns_defers: bool = False
    dane_defers: bool = False
    lookup_timeout: float = 8.0


@dataclass(frozen=True, slots=True)
class ClockSet:
    """The clock of the daemon was set, or is known from now on."""

    at: float
    offset: float


@dataclass(frozen=True, slots=True)
class Published:
    """A domain publishes a policy, or none, and a verdict."""

    at: float
    domain: str
    policy: Policy | None
    verdict: Verdict
    hides_policy: bool = False
    """Its name servers, or its Policy Host, keep the daemon from the policy."""
    hides_verdict: bool = False
    """Its name servers keep the daemon from the verdict."""


@dataclass(frozen=True, slots=True)
class PolicyServed:
    """The Policy Host has sent a whole policy; nobody knows whether it arrived."""

    at: float
    domain: str
    version: int


@dataclass(frozen=True, slots=True)
class VerdictServed:
    """The DNS has answered the MX query, the first one of a DANE look-up."""

    at: float
    domain: str
    version: int


@dataclass(frozen=True, slots=True)
class FaultBegan:
    """A fault begins."""

    at: float
    fault: Fault


@dataclass(frozen=True, slots=True)
class FaultEnded:
    """A fault ends."""

    at: float
    fault: Fault


@dataclass(frozen=True, slots=True)
class DaemonKilled:
    """The daemon was killed with SIGKILL."""

    at: float


@dataclass(frozen=True, slots=True)
class DaemonReady:
    """The daemon has started and is ready."""

    at: float


@dataclass(frozen=True, slots=True)
class Reloading:
    """The daemon was told to load these settings."""

    at: float
    settings: SettingsInForce


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The settings of the last `Reloading` are in force."""

    at: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A client asks; the answer comes later."""

    at: float
    domain: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A client has got an answer, or has given up waiting."""

    at: float
    asked_at: float
    client: str
    key: str
    """As Postfix sends it: a domain, perhaps with a port, perhaps in brackets."""
    map_name: str
    answer: str
    """In the words of the constants above, or `secure match=… servername=hostname`."""
    lag: float = 0.0
    """Seconds by which the client itself was late; they are not the daemon's."""

    @property
    def domain(self) -> str:
        """The Policy Domain."""
        return domain_of(self.key)

    @property
    def has_verdict(self) -> bool:
        """Whether a DANE verdict applies to the key: no brackets, and port 25."""
        host, _, port = self.key.partition(":")
        return not host.startswith("[") and port in {"", "25"}


Event: TypeAlias = (
    ClockSet
    | Published
    | PolicyServed
    | VerdictServed
    | FaultBegan
    | FaultEnded
    | DaemonKilled
    | DaemonReady
    | Reloading
    | Reloaded
    | Asked
    | Answered
)


def domain_of(key: str) -> str:
    """The Policy Domain that a key names."""
    return key.partition(":")[0].strip("[]")
