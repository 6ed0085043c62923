"""Messages between the daemon and its network process keep their types and values."""

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from postfix_mta_sts import __version__
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.store_location import EngineName, StoreLocation
from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, MtaStsError, NoRecordError
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope, Use
from postfix_mta_sts.mtasts.lifecycle import Discovered
from postfix_mta_sts.mtasts.policy import Mode, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId, parse_records
from postfix_mta_sts.mtasts.sharing import SharedPolicy
from postfix_mta_sts.mtasts.tlsrpt_record import FoundTlsrpt, TlsrptRecord
from postfix_mta_sts.network import ipc
from postfix_mta_sts.network.child import OtherVersionError, shake_hands
from postfix_mta_sts.network.messages import (
    AskFleet,
    Cancel,
    Confined,
    Discover,
    DiscoverResult,
    DnssecServers,
    DnsStatus,
    Failed,
    FetchPolicy,
    FetchResult,
    FindTlsrpt,
    FindTlsrptResult,
    FleetAnswer,
    FleetStatus,
    FromChild,
    FromDaemon,
    Hello,
    LookUpDane,
    LookUpDaneResult,
    NotValidating,
    NotValidatingResult,
    Outdated,
    Ping,
    Pong,
    Progress,
    Ready,
    Start,
    decode_from_child,
    decode_from_daemon,
    failed,
)
from postfix_mta_sts.network.sandbox.confinement import Confinement
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.store import HistoryEntry
from postfix_mta_sts.store.fleet.keys import Keyring
from postfix_mta_sts.store.fleet.requests import (
    Announce,
    AnyAnswer,
    AnyRequest,
    Checks,
    Claim,
    Document,
    Done,
    Due,
    FindDue,
    Held,
    History,
    Look,
    NoteUses,
    OfferCheck,
    OfferPolicy,
    OtherFleet,
    ReadChecks,
    ReadExceptions,
    ReadHistory,
    ReadRelays,
    Relay,
    RelayReport,
    Relays,
    Release,
    Seen,
    StoreCondition,
    Unavailable,
    WriteExceptions,
)
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.values import Value, msgpack_decoder, to_msgpack

GOOD = parse_domain("good.test")
POLICY = "version: STSv1\nmode: enforce\nmx: mx.a.test\nmx: *.b.test\nmax_age: 86400\nx: ü\n"
SERVERS = (TcpAddress("192.0.2.1", 53), TcpAddress("::1", 5353))
OUTCOME = DaneOutcome(
    MxState.SECURE, "MX of good.test: 1 found", (Host("mx.a.test", HostState.USABLE, "TLSA"),), 60
)
SETTINGS = NetworkSettings(
    nameservers=("192.0.2.1", "[::1]:5353"),
    dns_timeout=5.0,
    trust_ad=False,
    https_timeout=60.0,
    https_port=443,
    authorities="PEM",
    ca_file="/etc/ca.pem",
    proxy=None,
    allow_private_addresses=True,
    concurrency=200,
    log_level="info",
    log_format="json",
)
FLEET = SharedStoreSettings(
    location=StoreLocation(
        engine=EngineName.POSTGRESQL,
        addresses=SERVERS,
        database="mta_sts",
        user="relay",
        password="secret",  # noqa: S106 (it is one of a test)
        tls=True,
    ),
    name="mx1",
    prefix="mta_sts",
    budget=0.25,
    keyring=Keyring({"0a0b0c0d": bytes(range(32)), "01020304": b"k" * 32}),
    authorities="PEM",
)
CHECK = Check(GOOD, CheckResult.HELD, "Held.", "certificate", "theirs", "id", 2.0, 1.0)
EXCEPTION = PolicyException(
    Scope("good.test"), Use.MAY, "why", 2.0, (), ignores_dane=False, added_at=1.0, uid=0
)
REPORT = RelayReport("1.2", 3, 4, 5)
REQUESTS: list[AnyRequest] = [
    Look(GOOD, 0.25),
    Claim(GOOD, 2**52, 2.0, 0.25),
    Release(GOOD, "token"),
    OfferPolicy(GOOD, POLICY, "id", 1.0, 2.0, 3.0, "token"),
    OfferPolicy(GOOD, POLICY, "id", 1.0, 2.0),
    ReadHistory(GOOD),
    ReadExceptions(7, "digest", ("mta_sts:0a0b0c0d",)),
    WriteExceptions(8, (EXCEPTION,), ("mta_sts:0a0b0c0d",)),
    OfferCheck(CHECK),
    ReadChecks("", 100),
    Announce(REPORT),
    ReadRelays(),
    NoteUses({GOOD: 1.5}),
    FindDue(86_400.0, 100),
]
SHARED = SharedPolicy(parse_policy(POLICY.encode()), PolicyId("id"), 1.5, "mx2", 2**52)
ANSWERS: list[AnyAnswer] = [
    Unavailable("no answer"),
    Unavailable("no answer", was_asked=False),
    Done(is_kept=False),
    Seen(SHARED, "", 0.1),
    Seen(None, "it is not signed"),
    Held("token", SHARED),
    History((HistoryEntry(PolicyId("id"), Mode.ENFORCE, ("mx.a.test",), 1.0, 2.0),)),
    Document(9, (EXCEPTION,), "mx2"),
    Document(9, None),
    OtherFleet(),
    Checks((CHECK,), "good.test"),
    Relays((Relay("mx2", REPORT, 1.0),)),
    Due((GOOD,)),
]


@pytest.mark.parametrize(
    "message",
    [
        Hello("1.2"),
        Start("uvloop", SETTINGS),
        Start("uvloop", replace(SETTINGS, fleet=FLEET)),
        Start("uvloop", replace(SETTINGS, allow_private_addresses=("10.0.0.0/8", "fd00::/8"))),
        Discover(1, GOOD),
        FetchPolicy(2, GOOD),
        FetchPolicy(2, GOOD, progress=True),
        LookUpDane(3, GOOD, progress=True),
        LookUpDane(3, GOOD),
        NotValidating(4),
        FindTlsrpt(5, GOOD),
        *(AskFleet(5, request) for request in REQUESTS),
        Cancel(2),
        Ping(),
    ],
    ids=lambda message: type(message).__name__,
)
def test_messages_of_the_daemon(message: FromDaemon) -> None:
    """Each message of the daemon decodes as what it was."""
    assert decode_from_daemon(to_msgpack([message, message])) == [message, message]


@pytest.mark.parametrize(
    "message",
    [
        Hello("1.2"),
        DiscoverResult(1, Discovered(parse_records([b"v=STSv1; id=1;"]), 300)),
        FetchResult(2, parse_policy(POLICY.encode())),
        LookUpDaneResult(3, OUTCOME),
        Ready(),
        Pong(),
        Progress(2),
        Progress(3, OUTCOME),
        NotValidatingResult(4, SERVERS),
        FindTlsrptResult(5, FoundTlsrpt(TlsrptRecord(("mailto:a@b.test",), "v=…"), 300)),
        *(FleetAnswer(5, answer) for answer in ANSWERS),
        FleetStatus(StoreCondition("wrong password", is_asked=False)),
        DnsStatus(unanswered=True),
        Confined(Confinement(files=True, ports=(25, 53), missing=("x",))),
        Confined(Confinement(is_wanted=False)),
        Outdated("/etc/resolv.conf"),
        DnssecServers(SERVERS, SERVERS),
        Failed(1, "no-record", "NXDOMAIN"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_messages_of_the_network_process(message: FromChild) -> None:
    """Each message of the network process decodes as what it was, its values included."""
    assert decode_from_child(to_msgpack([message, message])) == [message, message]


def leaves(root: type[MtaStsError]) -> set[type[MtaStsError]]:
    """All subclasses that have no subclasses."""
    below = root.__subclasses__()
    return set[type[MtaStsError]]().union(*map(leaves, below)) if below else {root}


def sent_and_received(error: MtaStsError) -> MtaStsError:
    """The error as the daemon gets it."""
    (message,) = decode_from_child(to_msgpack([failed(7, error)]))
    assert isinstance(message, Failed)
    assert message.number == 7
    return message.error


@pytest.mark.parametrize(
    "kind", sorted(leaves(MtaStsError) - {InvalidPolicyError}, key=str), ids=lambda k: k.code
)
def test_every_error_keeps_its_type_and_reason(kind: type[MtaStsError]) -> None:
    """Each leaf of the tree of errors arrives with its type, code and reason."""
    received = sent_and_received(kind("why"))
    assert (type(received), received.code, str(received)) == (kind, kind.code, "why")


@pytest.mark.parametrize("line", [0, 1, 12])
@pytest.mark.parametrize("reason", ["no mx field", "line 1: line 12: odd"])
def test_an_invalid_policy_keeps_its_line(line: int, reason: str) -> None:
    """The line of an `InvalidPolicyError` arrives too, and the text is the same."""
    error = InvalidPolicyError(line, reason)
    received = sent_and_received(error)
    assert isinstance(received, InvalidPolicyError)
    assert (received.line, str(received)) == (line, str(error))


def test_values_that_are_not_valid_are_refused() -> None:
    """Decoding checks shapes and runs the checks of the values themselves."""
    wire = to_msgpack([LookUpDaneResult(3, OUTCOME)]).replace(b"TLSA", b"TL\x01A")
    with pytest.raises(ValueError, match="printable"):
        decode_from_child(wire)
    with pytest.raises(ValueError, match="Invalid value 'Discover'"):
        decode_from_child(to_msgpack([Discover(1, GOOD)]))


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    """Bytes that are no message raise `ValueError` and nothing else."""
    for decode in (decode_from_child, decode_from_daemon):
        try:
            decode(data)
        except ValueError:
            continue


class HelloOfLater(Value, frozen=True, array_like=True, tag="Hello"):
    """A `Hello` of a later release that says more."""

    version: str
    more: int = 1


async def hands(*messages: Value | bytes) -> tuple[object, Hello]:
    """Return what `shake_hands` returns or raises for these messages, and the answer it sends."""
    here, there = await asyncio.to_thread(socket.socketpair)
    with here, there:
        for message in messages:
            if isinstance(message, bytes):
                here.sendall(len(message).to_bytes(4) + message)
            else:
                ipc.send(here, message)
        (outcome,) = await asyncio.gather(
            asyncio.to_thread(shake_hands, there), return_exceptions=True
        )
        (hello,) = msgpack_decoder(list[Hello])(ipc.receive(here))
        return outcome, hello


async def test_equal_versions() -> None:
    """With the same version as the daemon, the child reads the settings, and sends its version."""
    start = Start("asyncio", SETTINGS)
    assert await hands(Hello(__version__), start) == (start, Hello(__version__))


@pytest.mark.parametrize(
    ("first", "version"),
    [
        (Hello("0.1"), "0.1"),
        (HelloOfLater("9.9"), "9.9"),
        (NoRecordError.code.encode(), "unknown"),
        (Cancel(1), "unknown"),
    ],
    ids=["older", "later", "no message", "no hello"],
)
async def test_another_version(first: Value | bytes, version: str) -> None:
    """The child refuses a daemon of any other version, and sends its own version."""
    outcome, hello = await hands(first)
    assert isinstance(outcome, OtherVersionError)
    assert str(outcome) == version
    assert hello == Hello(__version__)


async def test_no_settings() -> None:
    """A `Hello` of this version that is not followed by `Start` is a fault of this program."""
    outcome, _ = await hands(Hello(__version__), Cancel(1))
    assert isinstance(outcome, TypeError)
