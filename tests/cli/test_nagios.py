"""`status --nagios`: one line and an exit code."""

from collections.abc import Callable
from pathlib import Path

import pytest

from postfix_mta_sts.admin.client import ControlDeniedError
from postfix_mta_sts.cli import nagios
from postfix_mta_sts.config.settings import ConfigError
from postfix_mta_sts.postfix.dane import DaneStatus
from postfix_mta_sts.stats import FleetNumbers
from postfix_mta_sts.stats.labels import Answer, Part, Source
from tests.support.control import ControlledDaemon, Operator
from tests.support.fleet_asked import FakeFleet
from tests.support.resolvers import find_state
from tests.support.surroundings import GOOD, Surroundings


def stop_answering(daemon: ControlledDaemon) -> None:
    """No listener answers."""
    daemon.problem = "no reply within 5 s"


def lose_dns(daemon: ControlledDaemon) -> None:
    """No name server answers."""
    daemon.not_working.add(Part.DNS)


def lose_dane(daemon: ControlledDaemon) -> None:
    """DANE is wanted, but the name server does not validate."""
    reason = "does not validate: name server 192.0.2.1"
    daemon.dane = DaneStatus(on=False, reason=reason, needs_attention=True)


def lose_fleet(daemon: ControlledDaemon) -> None:
    """The shared store does not answer."""
    daemon.fleet = FakeFleet().fleet
    daemon.not_working.add(Part.FLEET)
    daemon.fleet_numbers = FleetNumbers(is_on=True, problem="connection refused", is_asked=False)


def join_fleet(daemon: ControlledDaemon) -> None:
    """There is a shared store, and it answers."""
    daemon.fleet, daemon.fleet_numbers = FakeFleet().fleet, FleetNumbers(is_on=True)


NUMBERS = "| failing=0 policies=1 found=3c not_found=0c try_again=0c unwritten=0"


@pytest.mark.parametrize(
    ("happens", "code", "line"),
    [
        (lambda _: None, 0, "OK: not asked since the start; 0 failing; DANE on"),
        (stop_answering, 2, "CRITICAL: does not answer: no reply within 5 s; not asked since "),
        (lose_dns, 1, "WARNING: not working: dns (no name server answers); not asked since "),
        (join_fleet, 0, "OK: not asked since the start; 0 failing; DANE on; fleet well"),
        (
            lose_fleet,
            0,
            "OK: not asked since the start; 0 failing; DANE on; fleet not reached (connection ref",
        ),
        (lose_dane, 1, "WARNING: DANE is off: does not validate: name server 192.0.2.1; not as"),
    ],
)
async def test_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    happens: Callable[[ControlledDaemon], None],
    code: int,
    line: str,
) -> None:
    """The exit code says how bad it is, and one line says why, with performance data."""
    around = Surroundings()
    around.publish(GOOD)
    daemon = ControlledDaemon(around)
    await find_state(daemon.resolver, GOOD)
    daemon.counters.answers[Answer.FOUND, Source.MEMORY] += 3
    happens(daemon)
    async with daemon.controlled(tmp_path) as path:
        done = await Operator(path, capsys).run("status", "--nagios")
    assert (done.code, done.err, done.out.count("\n")) == (code, "", 1)
    assert done.out.startswith(f"MTA-STS {line}")
    assert done.out.rstrip().endswith(NUMBERS)


async def test_no_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that is not there is CRITICAL, on standard output."""
    done = await Operator(tmp_path / "none.sock", capsys).run("status", "--nagios")
    assert (done.code, done.err) == (2, "")
    assert done.out.startswith("MTA-STS CRITICAL: there is no control socket ")


@pytest.mark.parametrize("error", [ControlDeniedError("a | b: denied"), ConfigError("a | b: bad")])
def test_unknown(error: Exception) -> None:
    """What says nothing about the daemon is UNKNOWN; `|` would begin the performance data."""

    def ask() -> dict[str, object]:
        raise error

    found = nagios.check(ask, 0.0)
    assert (found.code, found.line[:20]) == (3, "MTA-STS UNKNOWN: a /")
