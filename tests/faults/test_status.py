"""What `status` says first, and the exit code for a monitor, in each state of the daemon."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from postfix_mta_sts.cli import nagios
from postfix_mta_sts.postfix.dane import DaneStatus
from postfix_mta_sts.stats.labels import Part
from tests.support.control import ControlledDaemon, Operator
from tests.support.surroundings import Surroundings

FAILING = "failing no domains in memory; policy list --failing also reads the store"
NOT_VALID = "does not validate: name server 192.0.2.1"
NO_MODULE = "smtp_dns_support_level is not dnssec in Postfix"


def _just_started(daemon: ControlledDaemon) -> None:
    daemon.asked_at = None


def _working(_: ControlledDaemon) -> None:
    pass


def _not_answering(daemon: ControlledDaemon) -> None:
    daemon.problem = "no reply within 5 s"


def _hung_process(daemon: ControlledDaemon) -> None:
    daemon.not_working.add(Part.NETWORK_PROCESS)
    daemon.reasons[Part.NETWORK_PROCESS] = "the network process has not answered for 7 s"


def _broken_store(daemon: ControlledDaemon) -> None:
    daemon.not_working |= {Part.STORE_READING, Part.STORE_WRITING}
    for part in (Part.STORE_READING, Part.STORE_WRITING):
        daemon.reasons[part] = "/p.db: disk I/O error"


def _no_certificates(daemon: ControlledDaemon) -> None:
    daemon.not_working.add(Part.CA_CERTIFICATES)
    daemon.reasons[Part.CA_CERTIFICATES] = "no CA certificates in /etc/ssl/certs"


def _silent_dns(daemon: ControlledDaemon) -> None:
    daemon.not_working.add(Part.DNS)


def _stuck_log(daemon: ControlledDaemon) -> None:
    daemon.log_lines_unwritten = 12


def _dane_cannot_be_used(daemon: ControlledDaemon) -> None:
    daemon.dane = DaneStatus(
        on=False, reason=NOT_VALID, advice="use a validating resolver", needs_attention=True
    )


def _dane_is_not_wanted(daemon: ControlledDaemon) -> None:
    daemon.dane = DaneStatus(on=False, reason=NO_MODULE)


@dataclass(frozen=True)
class Expected:
    """What must be in the first lines, beside the usual ones, and the result for Nagios."""

    code: int
    says: str
    lines: tuple[str, ...] = ("health all parts working",)
    asked: str = "last asked 5s ago"
    answering: str = "answering yes"
    dane: tuple[str, ...] = ("DANE on: dane.mode is on",)


STATES: dict[Callable[[ControlledDaemon], None], Expected] = {
    _just_started: Expected(0, "OK: not asked since the", asked="last asked never since the start"),
    _working: Expected(0, "OK: last asked 5s ago; 0 failing; DANE on"),
    _not_answering: Expected(
        2,
        "CRITICAL: does not answer: no reply within 5 s",
        answering="answering NO: no reply within 5 s",
    ),
    _hung_process: Expected(
        1,
        "WARNING: not working: network_process (the network process has not",
        ("not working network_process (the network process has not answered for 7 s)",),
    ),
    _broken_store: Expected(
        1,
        "WARNING: not working: store_reading (/p.db: disk I/O error), store_writing (/p.db",
        (
            "not working store_reading (/p.db: disk I/O error)",
            "store_writing (/p.db: disk I/O error)",
        ),
    ),
    _no_certificates: Expected(
        1,
        "WARNING: not working: ca_certificates (no CA certificates in /etc/ssl/certs)",
        ("not working ca_certificates (no CA certificates in /etc/ssl/certs)",),
    ),
    _silent_dns: Expected(
        1,
        "WARNING: not working: dns (no name server answers)",
        ("not working dns (no name server answers)",),
    ),
    _stuck_log: Expected(
        0,
        "OK: last asked",
        (
            "health all parts working",
            "log 12 lines lost since the start: not read in time, or not written",
        ),
    ),
    _dane_cannot_be_used: Expected(
        1,
        f"WARNING: DANE is off: {NOT_VALID}",
        dane=(f"DANE off: {NOT_VALID}", "use a validating resolver"),
    ),
    _dane_is_not_wanted: Expected(
        0, "OK: last asked 5s ago; 0 failing; DANE off", dane=(f"DANE off: {NO_MODULE}",)
    ),
}


@pytest.mark.parametrize("happens", STATES, ids=lambda state: state.__name__.strip("_"))
async def test_state(
    happens: Callable[[ControlledDaemon], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first lines say what works and what does not, and fit into 80 columns."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    daemon = ControlledDaemon(Surroundings())
    daemon.asked_at = now - 5
    happens(daemon)
    async with daemon.controlled(tmp_path) as path:
        operator = Operator(path, capsys)
        done = await operator.run("status")
        plugin = await operator.run("status", "--nagios")
    expected = STATES[happens]
    first = done.out.split("\n\n")[0].splitlines()
    wanted = [expected.answering, expected.asked, FAILING, *expected.dane, *expected.lines]
    assert [" ".join(line.split()) for line in first] == wanted
    assert max(map(len, done.out.splitlines())) <= 80
    assert (done.code, plugin.code) == (0, expected.code)
    assert plugin.out.startswith(f"MTA-STS {expected.says}")


async def test_a_configuration_with_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a reload that failed, `status` works with what is valid; a monitor is told."""
    async with ControlledDaemon(Surroundings()).controlled(tmp_path) as path:
        operator = Operator(path, capsys)
        config = path.with_name("config.yml")
        config.write_text(f"htps: 1\ncontrol: {{path: {path}, mode: rw}}\n")
        done = await operator.run("status")
        plugin = await operator.run("status", "--nagios")
        config.write_text("control: {path: 1}\n")
        lost = await operator.run("status")
    assert (done.code, done.rows[0]) == (0, ["answering", "yes"])
    assert done.err.startswith(f"postfix-mta-sts: warning: {config}:1: htps: unknown key, perhaps ")
    assert (plugin.code, plugin.out[:16]) == (3, "MTA-STS UNKNOWN:")
    assert (lost.code, lost.out) == (2, "")


async def test_a_daemon_that_hangs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A monitor gets its line before it loses patience, and that is CRITICAL."""
    assert nagios.TIMEOUT < 10
    monkeypatch.setattr(nagios, "TIMEOUT", 0.01)
    stopped = tmp_path / "stopped.sock"
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(stopped))
        hung.listen()
        done = await Operator(stopped, capsys).run("status", "--nagios")
    assert done.code == nagios.CRITICAL
    assert "no answer from the daemon for 0.01 s: it hangs, or" in done.out
