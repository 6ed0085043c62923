"""What the log says of clients that are refused: one line a minute for each kind."""

import logging
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.postfix.probe import Place
from postfix_mta_sts.postfix.protocol.wire import WireError
from postfix_mta_sts.postfix.refusals import Refusals, hint
from postfix_mta_sts.rate_limit import INTERVAL
from postfix_mta_sts.stats import Counters

TCP = TcpAddress("127.0.0.1", 8461)
SOCKETMAP, TCP_TABLE = Place("socketmap", TCP), Place("tcp_table", TCP)


class Log:
    """Refusals with a manual clock, and the lines that they wrote."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self.now = 0.0
        self.counters = Counters()
        self.refusals = Refusals(self.counters, lambda: self.now)
        self._caplog = caplog

    def lines(self) -> list[str]:
        """The lines since the last call."""
        lines = [f"{r.levelname} {r.getMessage()}" for r in self._caplog.records]
        self._caplog.clear()
        return lines


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    """An empty log."""
    return Log(caplog)


def test_a_thousand_peers_with_malformed_requests(log: Log) -> None:
    """There is one line at once, and a minute later one with the count."""
    error = WireError("not a netstring")
    for n in range(1000):
        log.refusals.malformed(f"192.0.2.{n}", SOCKETMAP, error)
    log.now = INTERVAL
    log.refusals.malformed("192.0.2.9", SOCKETMAP, error)
    assert log.lines() == [
        (
            "INFO malformed request "
            'reason="not a netstring" peer=192.0.2.0 address=127.0.0.1:8461 count=1'
        ),
        (
            "INFO malformed request "
            'reason="not a netstring" peer=192.0.2.9 address=127.0.0.1:8461 count=1000'
        ),
    ]
    assert log.counters.refused == 1001


def test_a_kind_is_not_a_number(log: Log) -> None:
    """Requests of ever other lengths are one kind; another fault is another."""
    for n in range(100):
        log.refusals.malformed("unix", SOCKETMAP, WireError(f"{n} bytes", kind="long"))
    log.refusals.malformed("unix", SOCKETMAP, WireError("a netstring without its comma"))
    assert len(log.lines()) == 2


@pytest.mark.parametrize(("client", "place"), [("socketmap", TCP_TABLE), ("tcp_table", SOCKETMAP)])
def test_the_other_protocol_of_postfix(log: Log, client: str, place: Place) -> None:
    """The warning names both protocols, the listener, and what to write in main.cf."""
    for _ in range(2):
        log.refusals.foreign("uid 89", place, client)
    assert log.lines() == [
        (
            "WARNING client speaks another protocol than the listener, mail is deferred "
            f"client={client} listener={place.wire} address=127.0.0.1:8461 "
            f'hint="{hint(place)}" peer="uid 89" count=1'
        )
    ]
    assert log.counters.refused == 2


def test_another_program(log: Log) -> None:
    """A browser or a port scan is no reason to worry."""
    log.refusals.foreign("192.0.2.1", SOCKETMAP, "HTTP")
    assert log.lines() == [
        "INFO not a Postfix map client client=HTTP address=127.0.0.1:8461 peer=192.0.2.1 count=1"
    ]


def test_limits(log: Log) -> None:
    """Connections closed at a limit have one line a minute, however many they are."""
    for _ in range(1000):
        log.refusals.full("uid 1000", 100)
        log.refusals.flooded("uid 1000", 200)
    assert log.lines() == [
        'INFO connection limit reached limit=100 peer="uid 1000" count=1',
        (
            "WARNING too many unanswered requests or unread replies, connection closed "
            'limit=200 peer="uid 1000" count=1'
        ),
    ]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (SOCKETMAP, "write socketmap:inet:127.0.0.1:8461:postfix in main.cf"),
        (
            Place("socketmap", UnixAddress(Path("/run/s"))),
            "write socketmap:unix:/run/s:postfix in main.cf",
        ),
        (TCP_TABLE, "write tcp:127.0.0.1:8461 in main.cf"),
        (Place("tcp_table", TcpAddress("::1", 8461)), "write tcp:[::1]:8461 in main.cf"),
        (Place("tcp_table", UnixAddress(Path("/s"))), "write socketmap: unix:/s in listen"),
    ],
)
def test_the_hint(place: Place, expected: str) -> None:
    """Each listener in the notation of Postfix, which speaks tcp_table only over TCP."""
    assert hint(place) == expected
