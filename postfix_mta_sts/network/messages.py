"""The messages between the daemon and its network process: types, encoding, errors.

Each message is a msgspec Struct with a tag, encoded as a msgpack array. `ipc` sends and receives
the bytes; `process` and `child` act on the messages.

Versions: the first frame of each side is one `Hello` with its version, and both sides continue only
if the versions are equal. An upgrade of the package under a running daemon would otherwise mix
two versions when the network process is started again. So `Hello` must never change its form;
all other messages may change with any release. No call is sent before `Ready`.

Cost: encoding and decoding a policy takes 0.7 µs, where a pickle took 6.2 µs.

Trust: both ends are this program, in the same version, and nothing else has the sockets. So
values are decoded straight into their types, which checks their shape and runs `__post_init__`;
policies and domains are not parsed a second time.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, MtaStsError
from postfix_mta_sts.mtasts.lifecycle import Discovered
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.tlsrpt_record import FoundTlsrpt
from postfix_mta_sts.network.mail_hosts_values import FoundHosts
from postfix_mta_sts.network.sandbox.confinement import Confinement
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.smtp.values import ProbePlan, ProbeResult
from postfix_mta_sts.store.fleet.requests import AnyAnswer, AnyRequest, StoreCondition
from postfix_mta_sts.values import Value, msgpack_decoder

EventLoop: TypeAlias = Literal["asyncio", "uvloop"]


class Message(Value, frozen=True, array_like=True, tag=True):
    """Base of all messages."""


class Hello(Message, frozen=True):
    """The first message of each side; see the module's docstring."""

    version: str


class Start(Message, frozen=True):
    """The second message of the daemon: how the network process is to work."""

    loop: EventLoop
    """The library of the event loop, the same as in the daemon."""
    settings: NetworkSettings


class Call(Message, frozen=True):
    """Base of the requests; one result with the same `number` answers each."""

    number: int


class Discover(Call, frozen=True):
    """Look up the policy id of a domain; see `DnsClient.discover`."""

    domain: Domain


class FetchPolicy(Call, frozen=True):
    """Fetch the policy of a domain; see `PolicyFetcher.fetch`."""

    domain: Domain
    progress: bool = False
    """Whether to send `Progress` when the addresses of the Policy Host are known."""


class LookUpDane(Call, frozen=True):
    """Look up DANE for a domain; see `LazyDaneClient.look_up_dane`."""

    domain: Domain
    progress: bool = False
    """Whether to send `Progress` with the outcome so far."""


class FindTlsrpt(Call, frozen=True):
    """Look up the TLSRPT record of a domain; see `DnsClient.find_tlsrpt`."""

    domain: Domain


class NotValidating(Call, frozen=True):
    """Find the name servers that do not validate; see `LazyDaneClient.not_validating`."""


class LookUpHosts(Call, frozen=True):
    """Look up the mail hosts of a domain; see `MailChecks.look_up_hosts`."""

    domain: Domain
    seconds: float
    with_dane: bool


class Probe(Call, frozen=True):
    """Talk to mail hosts; see `MailChecks.probe`."""

    plan: ProbePlan

    @property
    def domain(self) -> str:
        """Whose mail it is about."""
        return self.plan.domain


class AskFleet(Call, frozen=True):
    """Ask the shared store; see `SharedStore.answer`."""

    request: AnyRequest

    @property
    def domain(self) -> Domain | None:
        """The domain that it is about, if it is about one."""
        return getattr(self.request, "domain", None)


class Ping(Message, frozen=True):
    """Asks whether the event loop of the network process runs; `Pong` answers it."""


class Cancel(Message, frozen=True):
    """Cancel the call with this number, if it is still running; nothing answers this."""

    number: int


class Ready(Message, frozen=True):
    """Sent once, when the network process can answer calls."""


class Pong(Message, frozen=True):
    """Answers `Ping`."""


class Progress(Message, frozen=True):
    """Sent before the result of a `FetchPolicy` or `LookUpDane` that asks for it."""

    number: int
    outcome: DaneOutcome | None = None
    """What a `LookUpDane` has found so far; None for a `FetchPolicy`."""


class DiscoverResult(Message, frozen=True):
    """Answers `Discover`."""

    number: int
    value: Discovered


class FetchResult(Message, frozen=True):
    """Answers `FetchPolicy`."""

    number: int
    value: Policy


class LookUpDaneResult(Message, frozen=True):
    """Answers `LookUpDane`."""

    number: int
    value: DaneOutcome


class FindTlsrptResult(Message, frozen=True):
    """Answers `FindTlsrpt`."""

    number: int
    value: FoundTlsrpt


class NotValidatingResult(Message, frozen=True):
    """Answers `NotValidating`."""

    number: int
    value: tuple[TcpAddress, ...]


class LookUpHostsResult(Message, frozen=True):
    """Answers `LookUpHosts`."""

    number: int
    value: FoundHosts


class ProbeResults(Message, frozen=True):
    """Answers `Probe`."""

    number: int
    value: tuple[ProbeResult, ...]


class FleetAnswer(Message, frozen=True):
    """Answers `AskFleet`."""

    number: int
    value: AnyAnswer


class Failed(Message, frozen=True):
    """Answers any call with an `MtaStsError`; made by `failed`."""

    number: int
    code: str
    reason: str
    line: int = 0
    """Of an `InvalidPolicyError`."""

    @property
    def error(self) -> MtaStsError:
        """The error that the network process raised, without its traceback."""
        kind = _ERRORS[self.code]
        if issubclass(kind, InvalidPolicyError):
            return kind(self.line, self.reason)
        return kind(self.reason)


class DnsStatus(Message, frozen=True):
    """Sent when it changes; see `DnsClient.unanswered`."""

    unanswered: bool


class AuthoritiesStatus(Message, frozen=True):
    """Sent at the start, and when it changes; see `Authorities.problem`."""

    problem: str


class FleetStatus(Message, frozen=True):
    """Sent when it changes; see `SharedStore.condition`."""

    condition: StoreCondition


class Confined(Message, frozen=True):
    """Sent at the start; see `sandbox.confine`."""

    confinement: Confinement


class Outdated(Message, frozen=True):
    """Sent again and again while a file was replaced that its sandbox hides from it therefore."""

    path: str


class DnssecServers(Message, frozen=True):
    """Sent at the start, when the servers change, and before and after `NotValidating` runs.

    See `LazyDaneClient.nameservers` and `LazyDaneClient.untrusted`.
    """

    nameservers: tuple[TcpAddress, ...]
    untrusted: tuple[TcpAddress, ...]


AnyCall: TypeAlias = (
    Discover
    | FetchPolicy
    | LookUpDane
    | FindTlsrpt
    | NotValidating
    | LookUpHosts
    | Probe
    | AskFleet
)
Result: TypeAlias = (
    DiscoverResult
    | FetchResult
    | LookUpDaneResult
    | FindTlsrptResult
    | NotValidatingResult
    | LookUpHostsResult
    | ProbeResults
    | FleetAnswer
)
FromDaemon: TypeAlias = Hello | Start | AnyCall | Cancel | Ping
FromChild: TypeAlias = (
    Hello
    | Ready
    | Pong
    | Progress
    | Result
    | Failed
    | AuthoritiesStatus
    | Confined
    | Outdated
    | DnsStatus
    | DnssecServers
    | FleetStatus
)

decode_from_daemon: Callable[[bytes], Sequence[FromDaemon]] = msgpack_decoder(list[FromDaemon])
"""Decodes the content of a frame; raises `ValueError`."""
decode_from_child: Callable[[bytes], Sequence[FromChild]] = msgpack_decoder(list[FromChild])
"""Decodes the content of a frame; raises `ValueError`."""


def failed(number: int, error: MtaStsError) -> Failed:
    """The answer to a call that raised an error."""
    if isinstance(error, InvalidPolicyError):
        reason = str(error).removeprefix(f"line {error.line}: ")
        return Failed(number, error.code, reason, error.line)
    return Failed(number, error.code, str(error))


def _leaves(kind: type[MtaStsError]) -> list[type[MtaStsError]]:
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in _leaves(each)] if below else [kind]


_ERRORS: Final = {kind.code: kind for kind in _leaves(MtaStsError)}
